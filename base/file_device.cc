#include "base/file_device.h"

#include <fcntl.h>
#include <libaio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>
#include <vector>

#include <fmt/format.h>

#include "base/assert.h"
#include "base/file_descriptor.h"

namespace dmcache {
namespace {

constexpr std::size_t queue_depth = 64;

std::error_code system_error(int number) {
  return {number, std::generic_category()};
}

// A request in the kernel's hands. The control block comes first: the kernel gives its address back.
struct slot {
  iocb control{};
  io_request request{};
};

class file_device final : public device {
 public:
  file_device(file_descriptor file, bytes size, io_context_t context)
      : file_{std::move(file)}, size_{size}, context_{context}, slots_(queue_depth) {
    free_.reserve(slots_.size());
    for (slot &each : slots_) {
      free_.push_back(&each);
    }
  }
  file_device(const file_device &) = delete;
  file_device &operator=(const file_device &) = delete;
  ~file_device() override { io_destroy(context_); }

  bytes size() const override { return size_; }

  void submit(std::span<const io_request> requests) override {
    waiting_.insert(waiting_.end(), requests.begin(), requests.end());
    issue();
  }

  void wait() override {
    std::array<io_event, queue_depth> events{};
    require(free_.size() < slots_.size() || !refused_.empty(), "wait() needs a request in flight");
    fail_refused();
    if (free_.size() == slots_.size()) {
      return;
    }
    int ended = 0;
    do {
      ended = io_getevents(context_, 1, queue_depth, events.data(), nullptr);
    } while (ended == -EINTR);
    require(ended > 0, "the kernel reports what it was given");
    for (int i = 0; i < ended; ++i) {
      const io_event &event = events.at(static_cast<std::size_t>(i));
      slot *done = reinterpret_cast<slot *>(event.obj); // NOLINT: its first member
      const io_request request = done->request;
      free_.push_back(done);
      request.listener->io_done(request.tag, outcome(request, static_cast<long>(event.res)));
    }
    issue();
  }

  std::error_code flush() override {
    return fdatasync(file_.get()) == 0 ? std::error_code{} : system_error(errno);
  }

 private:
  struct refused {
    io_request request;
    int reason;
  };

  static std::error_code outcome(const io_request &request, long transferred) {
    if (transferred < 0) {
      return system_error(static_cast<int>(-transferred));
    }
    const bool whole = static_cast<std::size_t>(transferred) == request.data.size();
    return whole ? std::error_code{} : std::make_error_code(std::errc::io_error);
  }

  // Hands to the kernel what fits into its queue.
  void issue() {
    std::array<iocb *, queue_depth> batch{};
    std::size_t count = 0;
    while (!waiting_.empty() && !free_.empty()) {
      slot *next = free_.back();
      free_.pop_back();
      next->request = waiting_.front();
      waiting_.pop_front();
      prepare(*next);
      batch.at(count++) = &next->control;
    }
    for (std::size_t first = 0; first < count;) {
      const int taken =
          io_submit(context_, static_cast<long>(count - first), batch.data() + first);
      if (taken > 0) {
        first += static_cast<std::size_t>(taken);
      } else if (taken != -EINTR && taken != -EAGAIN) {
        slot *bad = reinterpret_cast<slot *>(batch.at(first++)); // NOLINT: its first member
        refused_.push_back({bad->request, -taken});
        free_.push_back(bad);
      }
    }
  }

  void prepare(slot &next) const {
    const io_request &request = next.request;
    const auto offset = static_cast<long long>(request.offset.value());
    if (request.op == io_request::operation::read) {
      io_prep_pread(&next.control, file_.get(), request.data.data(), request.data.size(), offset);
    } else {
      io_prep_pwrite(&next.control, file_.get(), request.data.data(), request.data.size(), offset);
    }
  }

  void fail_refused() {
    for (auto ended = std::exchange(refused_, {}); const refused &each : ended) {
      each.request.listener->io_done(each.request.tag, system_error(each.reason));
    }
  }

  file_descriptor file_;
  bytes size_;
  io_context_t context_;
  std::vector<slot> slots_;
  std::vector<slot *> free_;
  std::deque<io_request> waiting_;
  std::vector<refused> refused_;
};

std::unexpected<error> cannot_open(const std::string &path, int reason) {
  const auto say = [&](std::string text) { return fail(failure::environment, std::move(text)); };
  switch (reason) {
  case ENOENT:
    return say(fmt::format("Couldn't find input file: {}", path));
  case EACCES:
  case EPERM:
    return say(fmt::format("Permission denied: {}: run this as root, or as its owner", path));
  case EBUSY:
  case EWOULDBLOCK:
    return say(fmt::format("{} is in use: deactivate the cache, or end the program that has it "
                           "open, first",
                           path));
  default:
    return say(fmt::format("cannot open {}: {}", path, system_error(reason).message()));
  }
}

} // namespace

result<std::unique_ptr<device>> open_file_device(const std::string &path, access mode) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return cannot_open(path, errno);
  }
  const bool is_block_device = S_ISBLK(status.st_mode);
  if (!is_block_device && !S_ISREG(status.st_mode)) {
    return fail(failure::environment, fmt::format("Not a block device or regular file: {}", path));
  }

  const int flags = O_CLOEXEC | (mode == access::read_only ? O_RDONLY : O_RDWR) |
                    (is_block_device ? O_EXCL : 0);
  file_descriptor file{::open(path.c_str(), flags | O_DIRECT)};
  if (!file.is_open() && errno == EINVAL) { // a file system without direct I/O
    file = file_descriptor{::open(path.c_str(), flags)};
  }
  if (!file.is_open()) {
    return cannot_open(path, errno);
  }
  const int lock = mode == access::read_only ? LOCK_SH : LOCK_EX;
  if (!is_block_device && ::flock(file.get(), lock | LOCK_NB) != 0) {
    return cannot_open(path, errno);
  }
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) {
    return cannot_open(path, errno);
  }

  io_context_t context = nullptr;
  if (const int failed = io_setup(queue_depth, &context); failed < 0) {
    return fail(failure::environment,
                fmt::format("no asynchronous I/O for {}: {}: raise fs.aio-max-nr", path,
                            system_error(-failed).message()));
  }
  return std::make_unique<file_device>(std::move(file), bytes{static_cast<std::uint64_t>(end)},
                                       context);
}

} // namespace dmcache
