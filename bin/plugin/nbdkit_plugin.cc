// The nbdkit plugin: a cache, served to any number of NBD clients.
//
// The cache is activated before nbdkit forks into the background, so that the user sees what is in
// the way. Its threads are started after the fork. The cache is shut down as soon as nbdkit is told
// to end, or when nbdkit gives up before it has served anybody. nbdkit itself waits for all clients
// to go, and some stay for ever. So this ends the process soon after the cache is shut down.

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <semaphore>
#include <string>
#include <system_error>

#include "base/file_device.h"
#include "base/mutex.h"
#include "bin/control/control_server.h"
#include "bin/control/status_text.h"
#include "bin/plugin/nbdkit_parameters.h"
#include "bin/plugin/quit_signals.h"
#include "bin/plugin/settings_teller.h"
#include "caching/runtime/format_check.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {
namespace {

// nbdkit refuses larger requests.
constexpr std::uint32_t max_request = 64U << 20;
constexpr std::uint64_t max_preferred = 1U << 20;

constexpr std::chrono::seconds grace{3}; // for clients to go, once the cache is shut down
constexpr unsigned longest_end = 10;     // seconds, from then to the end of the process

// The exit status of this process whenever nbdkit doesn't decide about it. It says whether the
// cache was cleanly shut down.
std::atomic<int> exit_status{EXIT_SUCCESS};

class served_cache {
 public:
  served_cache() = default;
  served_cache(const served_cache &) = delete;
  served_cache &operator=(const served_cache &) = delete;
  // Runs at exit() as well, which nbdkit calls when something fails before it serves.
  ~served_cache() { end(); }

  result<> activate();
  result<> start() EXCLUDES(changing_);
  void end() noexcept EXCLUDES(changing_);
  // Is called when nbdkit has forked, in the process that doesn't serve the cache.
  void leave_to_child() { is_with_child_ = quit_ == nullptr; }

  threaded_runtime &runtime() { return *runtime_; }

  // False if there are as many connections as there may be.
  bool connect();
  void disconnect() { --nr_connections_; }
  bool is_full() const { return nr_connections_ >= parameters.max_connections; }

  nbdkit_parameters parameters;

 private:
  result<> check_before_formatting() const;
  static void stop();
  result<std::string> resize();
  static void log_if_failed(const result<> &done);
  void unlock_files() const;
  void shut_down() EXCLUDES(changing_);
  void shut_down_and_end() EXCLUDES(changing_);

  std::unique_ptr<threaded_runtime> runtime_;
  // Held while the cache is started and while it is shut down, lest the one overtakes the other.
  // A thread takes it before any lock of the runtime.
  mutex changing_;
  std::unique_ptr<control_server> control_ GUARDED_BY(changing_);
  // Both exist for as long as control_ does, which uses them.
  std::unique_ptr<quit_signals> quit_;
  std::unique_ptr<settings_teller> settings_;
  std::binary_semaphore nbdkit_ends_{0};
  bool is_with_child_ = false;
  std::atomic<unsigned> nr_connections_ = 0;
};

bool served_cache::connect() {
  if (++nr_connections_ <= parameters.max_connections) {
    return true;
  }
  --nr_connections_;
  return false;
}

result<> served_cache::check_before_formatting() const {
  if (!parameters.options.may_format) {
    return {};
  }
  const auto metadata = open_file_device(parameters.paths.metadata, access::read_only,
                                         parameters.paths.files_locked_by);
  return metadata ? check_that_no_cache_is_lost(**metadata, parameters.paths.metadata)
                  : std::unexpected{metadata.error()};
}

result<> served_cache::activate() {
  if (auto checked = check_before_formatting(); !checked) {
    return checked;
  }
  auto opened =
      threaded_runtime::open(parameters.paths, parameters.options, [](const std::string &trouble) {
        nbdkit_error("%s", trouble.c_str());
      });
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  runtime_ = std::move(*opened);
  if (const std::string shortage = metadata_shortage_of(runtime_->status()); !shortage.empty()) {
    nbdkit_error("%s", shortage.c_str());
  }
  return {};
}

result<> served_cache::start() {
  const mutex_guard starting{changing_};
  if (auto started = runtime_->start(); !started) {
    return started;
  }
  quit_ = std::make_unique<quit_signals>([this] { shut_down_and_end(); });
  if (!parameters.control.control.empty() || !parameters.control.status.empty()) {
    settings_ = std::make_unique<settings_teller>(file_descriptor{parameters.settings_to});
    auto control =
        control_server::start(*runtime_, parameters.control,
                              {.stop = [] { stop(); },
                               .changed = [this] { log_if_failed(settings_->tell(*runtime_)); },
                               .resize = [this] { return resize(); }});
    if (!control) {
      return std::unexpected{control.error()};
    }
    control_ = std::move(*control);
  }
  return {};
}

void served_cache::stop() {
  quit_signals::raise();
  nbdkit_shutdown();
}

void served_cache::log_if_failed(const result<> &done) {
  if (!done) {
    nbdkit_error("%s", done.error().message.c_str());
  }
}

// A cache that could not be opened again is of no use: this process ends then, and says why.
result<std::string> served_cache::resize() {
  auto done = runtime_->resize([this] { return settings_->tell_before_resizing(*runtime_); });
  log_if_failed(settings_->tell_after_resizing(*runtime_));
  if (runtime_->is_closed()) {
    stop();
  }
  return done;
}

// Who has locked them keeps his copies open until this process has ended, but others can use the files
// now.
void served_cache::unlock_files() const {
  for (const int each : parameters.locks) {
    unlock(each);
  }
}

// After this all requests fail.
void served_cache::shut_down() {
  const mutex_guard stopping{changing_};
  exit_status = EXIT_FAILURE;
  const result<> closed = runtime_->close();
  unlock_files();
  if (closed) {
    exit_status = EXIT_SUCCESS;
  } else {
    nbdkit_error("%s", closed.error().message.c_str());
  }
  if (const std::string left = incompleteness_of(runtime_->status()); !left.empty()) {
    nbdkit_error("%s", left.c_str());
  }
  // The devices are free, and whatever this process still waits for is not worth a process that
  // stays.
  std::signal(SIGALRM, [](int) { ::_exit(exit_status); });
  ::alarm(longest_end);
  if (control_) {
    control_->finish(closed);
  }
}

// When this has ended, clients are told that the cache is shut down, and nothing is lost if they
// are cut off.
void served_cache::shut_down_and_end() {
  // A supervisor may start a process again that was killed by a signal. One that was told to end is
  // not to come back, even if nbdkit aborts now.
  std::signal(SIGABRT, [](int) { ::_exit(exit_status); });
  shut_down();
  if (!nbdkit_ends_.try_acquire_for(grace)) {
    ::_exit(exit_status);
  }
}

void served_cache::end() noexcept {
  if (quit_) {
    nbdkit_ends_.release();
    quit_->finish();
  } else if (runtime_ && !is_with_child_) {
    shut_down();
  }
  {
    const mutex_guard stopping{changing_};
    control_.reset();
  }
  quit_.reset();
  runtime_.reset();
}

served_cache cache; // NOLINT: nbdkit's callbacks have nowhere else to find it

// No exception may reach nbdkit, which is written in C. Its callbacks return -1 after an error.
template <typename Action> int guarded(Action action) noexcept {
  try {
    return action();
  } catch (const std::exception &unexpected) { // out of memory, most likely
    nbdkit_error("%s", unexpected.what());
    nbdkit_set_error(ENOMEM);
    return -1;
  }
}

// Life. -------------------------------------------------------------------------------------------

// nbdkit has many threads, each with a buffer of the size of its largest request. They would have so
// many heaps, and hold on to so much of them, that the process grew with each client that came and went.
void keep_memory_small() {
  constexpr int max_heaps = 4;
  constexpr int given_back_at_once = 2 << 20; // bytes: what is as large
  ::mallopt(M_ARENA_MAX, max_heaps);
  ::mallopt(M_MMAP_THRESHOLD, given_back_at_once);
}

void load() {
  keep_memory_small();
  // If nbdkit forks before it serves the cache, the parent has nothing more to do with the cache.
  ::pthread_atfork(nullptr, [] { cache.leave_to_child(); }, nullptr);
}

void dump_plugin() {
  std::puts("dmcache_metadata_versions=1 2");
  std::puts("dmcache_policies=sift smq cleaner");
}

int config(const char *key, const char *value) {
  return guarded([&] { return cache.parameters.config(key, value); });
}

int config_complete() {
  return cache.parameters.config_complete();
}

int outcome_of(const result<> &done) {
  if (!done) {
    nbdkit_error("%s", done.error().message.c_str());
    return -1;
  }
  return 0;
}

int get_ready() {
  return guarded([] { return outcome_of(cache.activate()); });
}

int after_fork() {
  return guarded([] { return outcome_of(cache.start()); });
}

void cleanup() {
  cache.end();
  if (exit_status != EXIT_SUCCESS) { // nbdkit would say that all is well
    ::_exit(exit_status);
  }
}

// Answers to clients. -----------------------------------------------------------------------------

int refuse_connection() {
  nbdkit_error("%u clients are connected, and no more can be: see max-connections",
               cache.parameters.max_connections);
  return -1;
}

// Whoever comes when all places are taken is sent away before nbdkit makes threads for him.
int preconnect(int /*readonly*/) {
  return cache.is_full() ? refuse_connection() : 0;
}

void *open(int /*readonly*/) {
  if (!cache.connect()) {
    refuse_connection();
    return nullptr;
  }
  return NBDKIT_HANDLE_NOT_NEEDED;
}

void close(void * /*handle*/) {
  cache.disconnect();
}

std::int64_t get_size(void * /*handle*/) {
  return static_cast<std::int64_t>(cache.runtime().origin_size().value());
}

int can_write(void * /*handle*/) {
  return cache.parameters.options.read_only ? 0 : 1;
}

int yes(void * /*handle*/) {
  return 1;
}

int can_fua(void * /*handle*/) {
  return NBDKIT_FUA_NATIVE;
}

int can_cache(void * /*handle*/) {
  return NBDKIT_CACHE_NATIVE;
}

// Requests of any size are served. Those that cover whole cache blocks are served best, but the
// protocol knows only powers of two, so this tells the largest that divides a cache block.
int block_size(void * /*handle*/, std::uint32_t *minimum, std::uint32_t *preferred,
               std::uint32_t *maximum) {
  const std::uint64_t size = to_bytes(cache.runtime().options().block_size).value();
  const std::uint64_t divisor = std::uint64_t{1} << std::countr_zero(size);
  *minimum = 1;
  *preferred = static_cast<std::uint32_t>(std::min(divisor, max_preferred));
  *maximum = max_request;
  return 0;
}

// Requests. ---------------------------------------------------------------------------------------

int carry_out(request &wanted, const char *verb) {
  const std::error_code failed = cache.runtime().carry_out(wanted);
  if (!failed) [[likely]] {
    return 0;
  }
  // This is how the engine refuses requests that come during its shutdown, or after it.
  const bool is_shut_down = failed == std::errc::no_such_device;
  // The reason stands in the log already, since the runtime has told it. The client learns of the
  // error from what this returns.
  nbdkit_debug("%s of %llu bytes at %llu: %s", verb,
               static_cast<unsigned long long>(wanted.length.value()),
               static_cast<unsigned long long>(wanted.offset.value()), failed.message().c_str());
  nbdkit_set_error(is_shut_down ? ESHUTDOWN : failed.value());
  return -1;
}

int carry_out(request::operation op, std::uint32_t count, std::uint64_t offset, std::uint32_t flags,
              std::byte *data, const char *verb) {
  return guarded([&] {
    request wanted;
    wanted.op = op;
    wanted.fua = (flags & NBDKIT_FLAG_FUA) != 0;
    wanted.may_trim = (flags & NBDKIT_FLAG_MAY_TRIM) != 0;
    wanted.offset = bytes{offset};
    wanted.length = bytes{count};
    if (data != nullptr) {
      wanted.data = {data, count};
    }
    return carry_out(wanted, verb);
  });
}

int pread(void * /*handle*/, void *into, std::uint32_t count, std::uint64_t offset,
          std::uint32_t flags) {
  return carry_out(request::operation::read, count, offset, flags, static_cast<std::byte *>(into),
                   "read");
}

int pwrite(void * /*handle*/, const void *from, std::uint32_t count, std::uint64_t offset,
           std::uint32_t flags) {
  // A write doesn't change its data.
  auto *data = static_cast<std::byte *>(const_cast<void *>(from)); // NOLINT(*-const-cast)
  return carry_out(request::operation::write, count, offset, flags, data, "write");
}

int flush(void * /*handle*/, std::uint32_t flags) {
  return carry_out(request::operation::flush, 0, 0, flags, nullptr, "flush");
}

int trim(void * /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  return carry_out(request::operation::discard, count, offset, flags, nullptr, "trim");
}

// Whether zeroing is faster than writing is up to the file systems of the devices, so nothing can
// be promised.
int zero(void * /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  if ((flags & NBDKIT_FLAG_FAST_ZERO) != 0) {
    nbdkit_set_error(ENOTSUP);
    return -1;
  }
  return carry_out(request::operation::write_zeroes, count, offset, flags, nullptr, "zero");
}

int extents(void * /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t /*flags*/,
            nbdkit_extents *into) {
  return guarded([&] {
    const auto found = cache.runtime().extents(bytes{offset}, bytes{count});
    if (found.empty()) {
      nbdkit_set_error(ESHUTDOWN);
      return -1;
    }
    for (const origin_extent &each : found) {
      const std::uint32_t type = each.is_hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0U;
      if (nbdkit_add_extent(into, offset, each.length.value(), type) != 0) {
        return -1;
      }
      offset += each.length.value();
    }
    return 0;
  });
}

int prefetch(void * /*handle*/, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  return carry_out(request::operation::prefetch, count, offset, flags, nullptr, "cache");
}

nbdkit_plugin make_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "dmcache";
  plugin.longname = "dm-cache in user space";
  plugin.version = DMCACHE_VERSION;
  plugin.description = "Serves an origin through a fast device that caches it, on the metadata of "
                       "Linux's dm-cache.";
  plugin.config_help = nbdkit_parameters_help;
  plugin.load = load;
  plugin.dump_plugin = dump_plugin;
  plugin.config = config;
  plugin.config_complete = config_complete;
  plugin.get_ready = get_ready;
  plugin.after_fork = after_fork;
  plugin.cleanup = cleanup;
  plugin.preconnect = preconnect;
  plugin.open = open;
  plugin.close = close;
  plugin.get_size = get_size;
  plugin.can_write = can_write;
  plugin.can_multi_conn = yes; // a flush is one of the whole cache
  plugin.can_fast_zero = yes;
  plugin.can_fua = can_fua;
  plugin.can_cache = can_cache;
  plugin.can_extents = yes;
  plugin.block_size = block_size;
  plugin.pread = pread;
  plugin.pwrite = pwrite;
  plugin.flush = flush;
  plugin.trim = trim;
  plugin.zero = zero;
  plugin.cache = prefetch;
  plugin.extents = extents;
  return plugin;
}

nbdkit_plugin registered = make_plugin(); // NOLINT: nbdkit fills in the rest

} // namespace
} // namespace dmcache

NBDKIT_REGISTER_PLUGIN(dmcache::registered)
