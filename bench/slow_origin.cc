#include "bench/slow_origin.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "base/blocking_file.h"
#include "caching/engine/cache_engine.h"
#include "caching/replay/read_trace.h"
#include "caching/runtime/opened_cache.h"

namespace dmcache {
namespace {

using operation = engine_io::operation;
using std::chrono::microseconds;

constexpr sectors block_size{128};
constexpr std::uint64_t percent_of_footprint = 10;
constexpr std::size_t depth = 8; // requests under way
constexpr std::uint64_t size_of_metadata = 64 << 20;

instant per_kib(bytes length, instant each) {
  return each * static_cast<std::int64_t>(length.value() / 1024);
}

class disk_model {
 public:
  instant time_of(const engine_io &io) {
    constexpr std::uint64_t short_skip = 1 << 20;
    if (io.op == operation::flush) {
      return microseconds{8000};
    }
    const std::uint64_t at = io.offset.value();
    const instant seek = at == head_                              ? instant{}
                         : at > head_ && at - head_ <= short_skip ? microseconds{500}
                                                                  : microseconds{8000};
    head_ = at + io.length.value();
    return seek + per_kib(io.length, microseconds{5});
  }

 private:
  std::uint64_t head_ = 0;
};

instant time_on_ssd(const engine_io &io) {
  if (io.op == operation::flush) {
    return microseconds{100};
  }
  return io.op == operation::read
             ? microseconds{80} + per_kib(io.length, std::chrono::nanoseconds{500})
             : microseconds{40} + per_kib(io.length, microseconds{1});
}

// Carries out an engine's I/O at once, and says so when its time has come. Each device does one
// thing after the other.
class slow_devices {
 public:
  explicit slow_devices(const cache_files &files)
      : files_{blocking_file{files.metadata.duplicate()}, blocking_file{files.fast.duplicate()},
               blocking_file{files.origin.duplicate()}} {}

  bool empty() const {
    return std::ranges::all_of(under_way_, [](const auto &each) { return each.empty(); });
  }
  std::uint64_t written_to_fast() const { return written_to_fast_; }

  void begin(engine_io &io, instant now) {
    auto &queue = under_way_.at(static_cast<std::size_t>(io.on));
    io.begun = queue.empty() ? now : std::max(now, queue.back()->ended);
    io.ended = io.begun + (io.on == cache_device::origin ? disk_.time_of(io) : time_on_ssd(io));
    queue.push_back(&io);
  }

  // Requires that something is under way.
  engine_io &first_to_end() {
    const auto first = std::ranges::min_element(under_way_, {}, [](const auto &each) {
      return each.empty() ? instant::max() : each.front()->ended;
    });
    return *first->front();
  }

  std::error_code end(engine_io &io) {
    under_way_.at(static_cast<std::size_t>(io.on)).pop_front();
    const blocking_file &on = files_.at(static_cast<std::size_t>(io.on));
    switch (io.op) {
    case operation::read:
      return on.read(io.offset, io.data);
    case operation::write:
      written_to_fast_ += io.on == cache_device::fast ? io.length.value() : 0;
      return on.write(io.offset, io.data);
    case operation::write_zeroes:
      written_to_fast_ += io.on == cache_device::fast ? io.length.value() : 0;
      return on.write_zeroes(io.offset, io.length);
    default: // nothing here has to survive anything
      return {};
    }
  }

 private:
  std::array<blocking_file, 3> files_; // by cache_device
  std::array<std::deque<engine_io *>, 3> under_way_;
  disk_model disk_;
  std::uint64_t written_to_fast_ = 0; // bytes
};

// One of `depth` requests, used again and again.
struct client {
  request asked{};
  std::vector<std::byte> data;
  bool is_waiting = false;
};

class replayed_engine {
 public:
  replayed_engine(slow_devices &devices, cache_engine &engine)
      : devices_{devices}, engine_{engine}, now_{engine.state().now} {}

  // Returns how long it took.
  instant run(const std::vector<trace_request> &trace) {
    const instant start = now_;
    for (const trace_request &each : trace) {
      if (each.length != bytes{}) {
        submit(each);
      }
    }
    while (std::ranges::any_of(clients_, &client::is_waiting)) {
      step();
    }
    return now_ - start;
  }

  result<> shut_down() {
    control call;
    engine_.shut_down(call);
    pump();
    while (!is_finished_) {
      step();
    }
    return call.outcome;
  }

 private:
  void submit(const trace_request &wanted) {
    auto idle = std::ranges::find(clients_, false, &client::is_waiting);
    while (idle == clients_.end()) {
      step();
      idle = std::ranges::find(clients_, false, &client::is_waiting);
    }
    idle->data.resize(divided_up(wanted.length.value(), sector_size) * sector_size);
    idle->is_waiting = true;
    request &asked = idle->asked;
    asked.op = wanted.is_write ? request::operation::write : request::operation::read;
    asked.offset = to_bytes(wanted.start);
    asked.length = bytes{idle->data.size()};
    asked.data = idle->data;
    asked.client = &*idle;
    asked.outcome = {};
    engine_.submit(asked);
    pump();
  }

  void step() {
    const instant tick = std::max(now_, engine_.next_tick());
    if (devices_.empty() || devices_.first_to_end().ended > tick) {
      now_ = tick;
      engine_.tick(now_);
    } else {
      engine_io &io = devices_.first_to_end();
      now_ = std::max(now_, io.ended);
      engine_.io_done(io, devices_.end(io));
    }
    pump();
  }

  void pump() {
    while (engine_io *io = engine_.next_io()) {
      devices_.begin(*io, now_);
    }
    while (request *done = engine_.next_completed()) {
      static_cast<client *>(done->client)->is_waiting = false;
    }
    is_finished_ = engine_.next_finished() != nullptr || is_finished_;
  }

  slow_devices &devices_;
  cache_engine &engine_;
  instant now_;
  std::array<client, depth> clients_;
  bool is_finished_ = false;
};

std::string make_file(const std::string &path, std::uint64_t size) {
  std::ofstream{path}.flush();
  std::filesystem::resize_file(path, size);
  return path;
}

result<> replay(const cache_paths &paths, const std::vector<trace_request> &trace,
                std::string_view name) {
  const auto opened = opened_cache::open(paths, access::read_write, data_io::page_cache);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  engine_options options;
  options.block_size = block_size;
  options.policy = name;
  const auto engine = opened->activate(*opened->metadata, options);
  if (!engine) {
    return std::unexpected{engine.error()};
  }
  slow_devices devices{opened->files};
  replayed_engine replayed{devices, **engine};
  const double seconds = std::chrono::duration<double>(replayed.run(trace)).count();
  const engine_status status = (*engine)->status();
  const cache_statistics &served = status.statistics;
  const double hits = served.read_hits + served.write_hits;
  fmt::print("  {:<6} {:8.1f} s, {:4.1f} % hit, {:8} promotions, {:8.1f} MiB to the fast device\n",
             name, seconds, 100 * hits / (hits + served.read_misses + served.write_misses),
             status.counts.promotions, static_cast<double>(devices.written_to_fast()) / (1 << 20));
  std::fflush(stdout);
  return replayed.shut_down();
}

result<> compare(const std::string &folder, const std::string &path) {
  progress watcher{true};
  const auto read = read_trace({.path = path}, watcher);
  if (!read) {
    return std::unexpected{read.error()};
  }
  const std::vector<trace_request> &trace = read->requests;
  const bytes size = to_bytes(block_size);
  const footprint found = measure(trace, size);
  const std::uint64_t nr_cache_blocks =
      std::max<std::uint64_t>(1, found.nr_touched * percent_of_footprint / 100);
  fmt::print("{}: {} requests, {} cache blocks\n", path, trace.size(), nr_cache_blocks);
  for (const std::string_view name : {"sift", "smq"}) {
    const cache_paths paths{
        .metadata = make_file(folder + "/replay.metadata", size_of_metadata),
        .fast = make_file(folder + "/replay.fast", nr_cache_blocks * size.value()),
        .origin = make_file(folder + "/replay.origin", found.nr_origin_blocks * size.value())};
    auto done = replay(paths, trace, name);
    for (const device_part &each : {paths.metadata, paths.fast, paths.origin}) {
      std::filesystem::remove(each.path);
    }
    if (!done) {
      return done;
    }
  }
  return {};
}

} // namespace

int replay_on_slow_origin(const std::string &folder, const std::vector<std::string> &traces) {
  for (const std::string &each : traces) {
    if (const auto done = compare(folder, each); !done) {
      fmt::print(stderr, "bench_engine: {}\n", done.error().message);
      return static_cast<int>(done.error().kind);
    }
  }
  return 0;
}

} // namespace dmcache
