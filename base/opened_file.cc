#include "base/opened_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "base/file_identity.h"
#include "base/file_users.h"
#include "base/image_locks.h"
#include "base/loop_devices.h"
#include "base/storage_layers.h"

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
  case EROFS:
    return say(fmt::format("{} can't be written to: it is on a read-only file system", path));
  case EACCES:
  case EPERM:
    // Nothing is denied to root, but a device that is read-only, or a file that is immutable.
    if (mode == access::read_write && ::geteuid() == 0) {
      return say(fmt::format("{} is read-only, or immutable: it can't be written to", path));
    }
    return say(fmt::format("Permission denied: {}: run this as root, or as its owner", path));
  case EBUSY:
  case EWOULDBLOCK:
    if (const std::string user = user_of(path); !user.empty()) {
      return say(fmt::format("{} is in use: by {}", path, user));
    }
    return say(fmt::format("{} is in use: deactivate the cache, or end the program that has it "
                           "open, first",
                           path));
  default:
    return say(fmt::format("cannot open {}: {}", path,
                           std::error_code{reason, std::generic_category()}.message()));
  }
}

// Past the page cache, where that is possible. Not open, with the reason in errno, if it can't be.
file_descriptor open_directly(const std::string &path, access mode, int more_flags) {
  const int flags = O_CLOEXEC | (mode == access::read_only ? O_RDONLY : O_RDWR) | more_flags;
  file_descriptor file{::open(path.c_str(), flags | O_DIRECT)};
  if (!file.is_open() && errno == EINVAL) { // a file system without direct I/O
    file = file_descriptor{::open(path.c_str(), flags)};
  }
  return file;
}

bool lock_by_flock(int file, access mode) {
  return ::flock(file, (mode == access::read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0;
}

// Nobody uses the part through another loop device, or, if it is on a loop device, has locked the file
// that this is on. That file isn't locked here: who opens it sees that the loop device is in use.
bool is_free_beyond_loop_devices(const device_part &part, const struct stat &of, access mode) {
  if (is_used_through_loop_device(part)) {
    errno = EWOULDBLOCK;
    return false;
  }
  const auto beneath = S_ISBLK(of.st_mode) ? file_of_loop_device(of.st_rdev) : std::nullopt;
  if (!beneath) {
    return true;
  }
  const file_descriptor file{::open(beneath->c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  return !file.is_open() || lock_by_flock(file.get(), mode);
}

struct others_kept_off {
  locking locked_by = locking::own;
  bool beyond_loop_devices = true;
};

// Not open, with the reason in errno: it can't be opened, or somebody else uses it.
file_descriptor open_and_lock(const device_part &part, bool is_block_device, access mode,
                              const others_kept_off &how = {}) {
  file_descriptor file = open_directly(part.path, mode, is_block_device ? O_EXCL : 0);
  struct stat status{};
  if (!file.is_open() || ::fstat(file.get(), &status) != 0) {
    return {};
  }
  const bool is_locked_by_caller = !is_block_device && how.locked_by == locking::callers;
  const bool is_free = is_locked_by_caller ||
                       (is_block_device ? take_image_locks(file.get(), mode == access::read_write)
                                        : lock_again(file, mode));
  if (!is_free || (how.beyond_loop_devices && !is_free_beyond_loop_devices(part, status, mode))) {
    const int reason = errno;
    file = file_descriptor{};
    errno = reason;
  }
  return file;
}

file_descriptor duplicate_of(const file_descriptor &file) {
  return file_descriptor{::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)};
}

// Opens once more the file of which another part is open, under the lock of that one.
result<opened_file> open_beside(const opened_file &other, const part_to_open &wanted) {
  const std::string &path = wanted.part.path;
  opened_file whole{
      open_directly(fmt::format("/proc/self/fd/{}", other.file.get()), wanted.mode, 0), {}};
  const off_t end = whole.file.is_open() ? ::lseek(whole.file.get(), 0, SEEK_END) : -1;
  if (end < 0) {
    return cannot_open(path, wanted.mode, errno);
  }
  whole.size = bytes{static_cast<std::uint64_t>(end)};
  whole.claim = duplicate_of(other.claim.is_open() ? other.claim : other.file);
  if (!whole.claim.is_open()) {
    return cannot_open(path, wanted.mode, errno);
  }
  return part_of(std::move(whole), wanted.part);
}

result<opened_file> open_part(const device_part &part, access mode, const others_kept_off &how) {
  const std::string &path = part.path;
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return cannot_open(path, mode, errno);
  }
  if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode)) {
    return fail(failure::environment, fmt::format("Not a block device or regular file: {}", path));
  }
  file_descriptor file = open_and_lock(part, S_ISBLK(status.st_mode), mode, how);
  if (!file.is_open()) {
    return cannot_open(path, mode, errno);
  }
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) {
    return cannot_open(path, mode, errno);
  }
  return part_of({std::move(file), bytes{static_cast<std::uint64_t>(end)}}, part);
}

// One who writes to a part needs the lock of one who writes.
access mode_of_lock(const part_to_open &first, std::span<const part_to_open> all) {
  const bool is_written = std::ranges::any_of(all, [&](const part_to_open &each) {
    return each.mode == access::read_write && is_same_file(first.part.path, each.part.path);
  });
  return is_written ? access::read_write : first.mode;
}

// Is one of them a loop device on another, so that its user is no other?
bool are_stacked(std::span<const part_to_open> wanted) {
  return std::ranges::any_of(wanted, [&](const part_to_open &each) {
    struct stat status{};
    const auto beneath = ::stat(each.part.path.c_str(), &status) == 0 && S_ISBLK(status.st_mode)
                             ? file_of_loop_device(status.st_rdev)
                             : std::nullopt;
    return beneath && std::ranges::any_of(wanted, [&](const part_to_open &other) {
             return is_same_file(*beneath, other.part.path);
           });
  });
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

opened_file opened_file::duplicate() const {
  opened_file same{duplicate_of(file), size, begin};
  if (same.file.is_open() && claim.is_open()) {
    same.claim = duplicate_of(claim);
    if (!same.claim.is_open()) {
      const int reason = errno;
      same.file = file_descriptor{};
      errno = reason;
    }
  }
  return same;
}

result<opened_file> opened_file::measured_again(const device_part &part) const {
  opened_file whole = duplicate();
  const off_t end = whole.file.is_open() ? ::lseek(whole.file.get(), 0, SEEK_END) : -1;
  if (end < 0) {
    return fail(failure::environment,
                fmt::format("{} can't be measured: {}", part.path,
                            std::error_code{errno, std::generic_category()}.message()));
  }
  whole.begin = bytes{};
  whole.size = bytes{static_cast<std::uint64_t>(end)};
  return part_of(std::move(whole), part);
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
  // Where nothing is, nothing is lost. The part may end before the file does.
  constexpr auto step = static_cast<off_t>(io_alignment);
  const off_t past_the_end = (status.st_size / step + 1) * step;
  return ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, past_the_end,
                     io_alignment) == 0;
}

// Without a flush before it: that could fail, and nobody who flushes later would learn of it. Nor by
// BLKFLSBUF, which flushes, takes a privilege, and makes the ramdisks of old kernels forget all.
void opened_file::forget_cached_pages() const {
  struct stat status{};
  if (::fstat(file.get(), &status) == 0 && S_ISBLK(status.st_mode)) {
    ::posix_fadvise(file.get(), static_cast<off_t>(begin.value()), static_cast<off_t>(size.value()),
                    POSIX_FADV_DONTNEED);
  }
}

result<opened_file> part_of(opened_file whole, const device_part &part) {
  if (part.is_whole()) {
    return whole;
  }
  const std::uint64_t end = whole.size.value();
  const std::uint64_t begin = part.begin.value();
  const std::uint64_t size = part.size ? part.size->value() : end - std::min(begin, end);
  if (begin > end || size == 0 || size > end - begin) {
    return fail(failure::usage,
                fmt::format("{} has {} sectors, and {}: correct the offset or the size", part.path,
                            end / sector_size,
                            size == 0 ? fmt::format("nothing of it is left from sector {} on",
                                                    begin / sector_size)
                                      : fmt::format("the {} sectors from sector {} on reach "
                                                    "beyond its end",
                                                    size / sector_size, begin / sector_size)));
  }
  if (const std::size_t block = whole.logical_block_size(); begin % block != 0) {
    return fail(failure::usage,
                fmt::format("a part of {} must begin at a multiple of {} bytes, and "
                            "not at {}",
                            part.path, block, begin));
  }
  whole.begin = part.begin;
  whole.size = bytes{size};
  return whole;
}

result<file_descriptor> lock_file(const std::string &path, access mode) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return cannot_open(path, mode, errno);
  }
  if (S_ISBLK(status.st_mode)) {
    return file_descriptor{};
  }
  file_descriptor lock = open_and_lock(path, false, mode);
  return lock.is_open() ? result<file_descriptor>{std::move(lock)} : cannot_open(path, mode, errno);
}

bool lock_again(const file_descriptor &lock, access mode) {
  return lock_by_flock(lock.get(), mode) &&
         take_image_locks(lock.get(), mode == access::read_write);
}

void unlock(int lock) {
  give_up_image_locks(lock);
  ::flock(lock, LOCK_UN);
}

result<opened_file> open_file(const device_part &part, access mode, locking by) {
  return open_part(part, mode, {.locked_by = by});
}

result<std::vector<opened_file>> open_files(std::span<const part_to_open> wanted, locking by) {
  const others_kept_off how{.locked_by = by, .beyond_loop_devices = !are_stacked(wanted)};
  std::vector<opened_file> opened;
  for (const part_to_open &each : wanted) {
    const auto before = wanted.first(opened.size());
    const auto beside = std::ranges::find_if(before, [&](const part_to_open &other) {
      return is_same_file(other.part.path, each.part.path);
    });
    auto file = beside == before.end()
                    ? open_part(each.part, mode_of_lock(each, wanted), how)
                    : open_beside(opened[static_cast<std::size_t>(beside - before.begin())], each);
    if (!file) {
      return std::unexpected{file.error()};
    }
    opened.push_back(std::move(*file));
  }
  return opened;
}

bool is_in_use(const std::string &path, access mode) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 &&
         !open_and_lock(path, S_ISBLK(status.st_mode), mode).is_open() &&
         (errno == EBUSY || errno == EWOULDBLOCK);
}

bool is_same_file(const std::string &one, const std::string &other) {
  const auto is = identity_of(one);
  return is && is == identity_of(other);
}

} // namespace dmcache
