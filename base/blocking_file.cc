#include "base/blocking_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "base/device.h"

namespace dmcache {
namespace {

constexpr std::size_t zeroes_at_once = std::size_t{1} << 16;

std::error_code beyond_the_end() {
  return std::make_error_code(std::errc::io_error);
}

std::error_code system_error(int number) {
  return {number, std::generic_category()};
}

// Does this error say that the file doesn't know the operation, or not for such a range?
bool is_unknown(int number) {
  return number == EOPNOTSUPP || number == ENOSYS || number == EINVAL || number == ENOTTY;
}

// Calls `transfer`, with the number of bytes done and of those left, until all are transferred.
template <typename Transfer> std::error_code transfer_all(std::size_t size, Transfer transfer) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = transfer(done, size - done);
    if (count > 0) {
      done += static_cast<std::size_t>(count);
    } else if (count == 0) {
      return std::make_error_code(std::errc::io_error);
    } else if (errno != EINTR) {
      return system_error(errno);
    }
  }
  return {};
}

// Calls `operation`, which returns 0 or sets errno, until no signal is in its way.
template <typename Operation> int error_of(Operation operation) {
  int failed = 0;
  do {
    failed = operation();
  } while (failed != 0 && errno == EINTR);
  return failed == 0 ? 0 : errno;
}

} // namespace

blocking_file::blocking_file(opened_file file) : file_{std::move(file)} {
  struct stat status{};
  require(::fstat(file_.file.get(), &status) == 0, "the file is open");
  is_block_device_ = S_ISBLK(status.st_mode);
}

std::error_code blocking_file::read(bytes offset, std::span<std::byte> into) const {
  if (!file_.holds(offset, bytes{into.size()})) {
    return beyond_the_end();
  }
  return transfer_all(into.size(), [&](std::size_t done, std::size_t left) {
    return ::pread(file_.file.get(), into.data() + done, left, position(offset, done));
  });
}

std::error_code blocking_file::write(bytes offset, std::span<const std::byte> data) const {
  if (!file_.holds(offset, bytes{data.size()})) {
    return beyond_the_end();
  }
  return transfer_all(data.size(), [&](std::size_t done, std::size_t left) {
    return ::pwrite(file_.file.get(), data.data() + done, left, position(offset, done));
  });
}

std::error_code blocking_file::flush() const {
  return system_error(error_of([&] { return ::fdatasync(file_.file.get()); }));
}

std::error_code blocking_file::discard(bytes offset, bytes length) const {
  if (!file_.holds(offset, length)) {
    return beyond_the_end();
  }
  const int failed = error_of([&] {
    if (is_block_device_) {
      std::array<std::uint64_t, 2> range{file_.begin.value() + offset.value(), length.value()};
      return ::ioctl(file_.file.get(), BLKDISCARD, range.data());
    }
    return ::fallocate(file_.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       position(offset), static_cast<off_t>(length.value()));
  });
  return system_error(is_unknown(failed) ? 0 : failed);
}

std::error_code blocking_file::write_zeroes(bytes offset, bytes length, bool may_trim) const {
  if (!file_.holds(offset, length)) {
    return beyond_the_end();
  }
  const int failed = error_of([&] {
    const int mode = may_trim ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
    return ::fallocate(file_.file.get(), mode | FALLOC_FL_KEEP_SIZE, position(offset),
                       static_cast<off_t>(length.value()));
  });
  if (!is_unknown(failed)) {
    return system_error(failed);
  }
  alignas(io_alignment) static constexpr std::array<std::byte, zeroes_at_once> zeroes{};
  return transfer_all(length.value(), [&](std::size_t done, std::size_t left) {
    return ::pwrite(file_.file.get(), zeroes.data(), std::min(left, zeroes.size()),
                    position(offset, done));
  });
}

bool blocking_file::is_cut_short() const {
  struct stat status{};
  return !is_block_device_ && ::fstat(file_.file.get(), &status) == 0 &&
         static_cast<std::uint64_t>(status.st_size) < file_.begin.value() + file_.size.value();
}

// This moves the position of the file, which nothing else uses.
blocking_file::extent blocking_file::extent_at(bytes offset) const {
  constexpr bytes endless{std::numeric_limits<std::uint64_t>::max()};
  const auto from = position(offset);
  const off_t data = ::lseek(file_.file.get(), from, SEEK_DATA);
  if (data < 0) {
    return {endless, errno == ENXIO}; // ENXIO: there are no data any more
  }
  if (data > from) {
    return {offset + static_cast<std::uint64_t>(data - from), true};
  }
  const off_t hole = ::lseek(file_.file.get(), from, SEEK_HOLE);
  // If it isn't behind `from`, a hole has been made there in the meantime.
  return {hole > from ? offset + static_cast<std::uint64_t>(hole - from) : endless, false};
}

} // namespace dmcache
