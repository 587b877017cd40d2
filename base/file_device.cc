#include "base/file_device.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/assert.h"
#include "base/file_descriptor.h"
#include "base/request_queue.h"

namespace dmcache {
namespace {

std::error_code system_error(int number) {
  return {number, std::generic_category()};
}

class file_device final : public device {
 public:
  file_device(file_descriptor file, bytes size, std::unique_ptr<request_queue> queue)
      : file_{std::move(file)}, size_{size}, queue_{std::move(queue)} {
    for (std::size_t slot = 0; slot < request_queue::depth; ++slot) {
      free_.push_back(slot);
    }
  }

  bytes size() const override { return size_; }

  void submit(std::span<const io_request> requests) override {
    waiting_.insert(waiting_.end(), requests.begin(), requests.end());
    issue();
  }

  void wait() override {
    require(free_.size() < request_queue::depth, "wait() needs a request in flight");
    std::array<request_queue::completion, request_queue::depth> ended{};
    const std::size_t count = queue_->reap(ended);
    for (const auto &each : std::span{ended}.first(count)) {
      const io_request request = in_flight_.at(each.slot);
      free_.push_back(each.slot);
      request.listener->io_done(request.tag, outcome(request, each.transferred));
    }
    issue();
  }

  std::error_code flush() override {
    return fdatasync(file_.get()) == 0 ? std::error_code{} : system_error(errno);
  }

 private:
  static std::error_code outcome(const io_request &request, long transferred) {
    if (transferred < 0) {
      return system_error(static_cast<int>(-transferred));
    }
    const bool whole = static_cast<std::size_t>(transferred) == request.data.size();
    return whole ? std::error_code{} : std::make_error_code(std::errc::io_error);
  }

  void issue() {
    while (!waiting_.empty() && !free_.empty()) {
      const std::size_t slot = free_.back();
      free_.pop_back();
      in_flight_.at(slot) = waiting_.front();
      waiting_.pop_front();
      queue_->prepare(file_.get(), in_flight_.at(slot), slot);
    }
    queue_->submit();
  }

  file_descriptor file_;
  bytes size_;
  std::unique_ptr<request_queue> queue_;
  std::array<io_request, request_queue::depth> in_flight_{};
  std::vector<std::size_t> free_;  // slots
  std::deque<io_request> waiting_; // for a free slot
};

std::unexpected<error> cannot_open(const std::string &path, access mode, int reason) {
  const auto say = [&](std::string text) { return fail(failure::environment, std::move(text)); };
  switch (reason) {
  case ENOENT:
    return say(mode == access::read_only
                   ? fmt::format("Couldn't find input file: {}", path)
                   : fmt::format("Couldn't find {}: it must exist, as a device or a large enough "
                                 "file",
                                 path));
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
    return cannot_open(path, mode, errno);
  }
  const bool is_block_device = S_ISBLK(status.st_mode);
  if (!is_block_device && !S_ISREG(status.st_mode)) {
    return fail(failure::environment, fmt::format("Not a block device or regular file: {}", path));
  }

  const int flags =
      O_CLOEXEC | (mode == access::read_only ? O_RDONLY : O_RDWR) | (is_block_device ? O_EXCL : 0);
  file_descriptor file{::open(path.c_str(), flags | O_DIRECT)};
  if (!file.is_open() && errno == EINVAL) { // a file system without direct I/O
    file = file_descriptor{::open(path.c_str(), flags)};
  }
  if (!file.is_open()) {
    return cannot_open(path, mode, errno);
  }
  const int lock = mode == access::read_only ? LOCK_SH : LOCK_EX;
  if (!is_block_device && ::flock(file.get(), lock | LOCK_NB) != 0) {
    return cannot_open(path, mode, errno);
  }
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) {
    return cannot_open(path, mode, errno);
  }

  auto queue = make_request_queue();
  if (!queue) {
    return fail(failure::environment,
                fmt::format("no asynchronous I/O for {}: {}: raise fs.aio-max-nr", path,
                            queue.error().message()));
  }
  return std::make_unique<file_device>(std::move(file), bytes{static_cast<std::uint64_t>(end)},
                                       std::move(*queue));
}

bool is_same_file(const std::string &one, const std::string &other) {
  struct stat a {};
  struct stat b {};
  if (::stat(one.c_str(), &a) != 0 || ::stat(other.c_str(), &b) != 0) {
    return false;
  }
  const bool are_block_devices = S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode);
  return are_block_devices ? a.st_rdev == b.st_rdev : a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

} // namespace dmcache
