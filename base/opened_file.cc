#include "base/opened_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/aligned_buffer.h"

namespace dmcache {
namespace {

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
    return say(fmt::format("cannot open {}: {}", path,
                           std::error_code{reason, std::generic_category()}.message()));
  }
}

// Not open, with the reason in errno: it can't be opened, or somebody else uses it.
file_descriptor open_and_lock(const std::string &path, bool is_block_device, access mode) {
  const int flags =
      O_CLOEXEC | (mode == access::read_only ? O_RDONLY : O_RDWR) | (is_block_device ? O_EXCL : 0);
  file_descriptor file{::open(path.c_str(), flags | O_DIRECT)};
  if (!file.is_open() && errno == EINVAL) { // a file system without direct I/O
    file = file_descriptor{::open(path.c_str(), flags)};
  }
  const int lock = mode == access::read_only ? LOCK_SH : LOCK_EX;
  if (file.is_open() && !is_block_device && ::flock(file.get(), lock | LOCK_NB) != 0) {
    const int reason = errno;
    file = file_descriptor{};
    errno = reason;
  }
  return file;
}

bool block_device_can_discard(dev_t device) {
  const std::string folder =
      fmt::format("/sys/dev/block/{}:{}", gnu_dev_major(device), gnu_dev_minor(device));
  // A partition's queue is that of its disk.
  for (const char *const queue : {"/queue", "/../queue"}) {
    std::uint64_t most = 0; // bytes at once
    if (std::ifstream{folder + queue + "/discard_max_bytes"} >> most) {
      return most > 0;
    }
  }
  return false;
}

} // namespace

file_descriptor opened_file::duplicate() const {
  return file_descriptor{::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)};
}

std::size_t opened_file::logical_block_size() const {
  int block_size = 0;
  if (::ioctl(file.get(), BLKSSZGET, &block_size) == 0) {
    return static_cast<std::size_t>(block_size);
  }
  aligned_buffer buffer{io_alignment};
  const bool is_refused =
      ::pread(file.get(), buffer.span().data(), sector_size, 0) < 0 && errno == EINVAL;
  return is_refused ? io_alignment : sector_size;
}

bool opened_file::is_read_only_device() const {
  int is_read_only = 0;
  return ::ioctl(file.get(), BLKROGET, &is_read_only) == 0 && is_read_only != 0;
}

bool opened_file::can_discard() const {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0 || (::fcntl(file.get(), F_GETFL) & O_ACCMODE) == O_RDONLY) {
    return false;
  }
  if (S_ISBLK(status.st_mode)) {
    return block_device_can_discard(status.st_rdev);
  }
  // Where nothing is, nothing is lost.
  const auto past_the_end = static_cast<off_t>((size.value() / io_alignment + 1) * io_alignment);
  return ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, past_the_end,
                     io_alignment) == 0;
}

// Without a flush before it: that could fail, and nobody who flushes later would learn of it. Nor by
// BLKFLSBUF, which flushes, takes a privilege, and makes the ramdisks of old kernels forget all.
void opened_file::forget_cached_pages() const {
  struct stat status{};
  if (::fstat(file.get(), &status) == 0 && S_ISBLK(status.st_mode)) {
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

result<opened_file> open_file(const std::string &path, access mode) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return cannot_open(path, mode, errno);
  }
  if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode)) {
    return fail(failure::environment, fmt::format("Not a block device or regular file: {}", path));
  }
  file_descriptor file = open_and_lock(path, S_ISBLK(status.st_mode), mode);
  if (!file.is_open()) {
    return cannot_open(path, mode, errno);
  }
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) {
    return cannot_open(path, mode, errno);
  }
  return opened_file{std::move(file), bytes{static_cast<std::uint64_t>(end)}};
}

bool is_in_use(const std::string &path, access mode) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 &&
         !open_and_lock(path, S_ISBLK(status.st_mode), mode).is_open() &&
         (errno == EBUSY || errno == EWOULDBLOCK);
}

bool is_same_file(const std::string &one, const std::string &other) {
  struct stat a{};
  struct stat b{};
  if (::stat(one.c_str(), &a) != 0 || ::stat(other.c_str(), &b) != 0) {
    return false;
  }
  const bool are_block_devices = S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode);
  return are_block_devices ? a.st_rdev == b.st_rdev : a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

} // namespace dmcache
