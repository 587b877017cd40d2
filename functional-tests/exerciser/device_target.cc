#include "functional-tests/exerciser/device_target.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <thread>
#include <vector>

namespace dmcache::exerciser {

device_target::device_target(const std::string &path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) {
    is_block_device_ = S_ISBLK(status.st_mode);
    const int direct = is_block_device_ ? O_DIRECT : 0;
    file_ = file_descriptor{::open(path.c_str(), O_RDWR | O_CLOEXEC | direct)};
  }
  const off_t end = file_.is_open() ? ::lseek(file_.get(), 0, SEEK_END) : -1;
  if (end < 0) {
    throw std::system_error{errno, std::generic_category(), path};
  }
  size_ = bytes{static_cast<std::uint64_t>(end)};
}

void device_target::carry_out(std::span<operation> batch) {
  std::vector<int> errors(batch.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      threads.emplace_back([&, i] { errors[i] = perform(batch[i]) ? 0 : errno; });
    }
  }
  for (const int error : errors) {
    if (error != 0) {
      throw std::system_error{error, std::generic_category(), "I/O on the device"};
    }
  }
}

bool device_target::perform(const operation &io) const {
  const auto offset = static_cast<off_t>(io.offset.value());
  const auto length = static_cast<ssize_t>(io.length.value());
  std::array<std::uint64_t, 2> range{io.offset.value(), io.length.value()};
  const iovec memory{io.data.data(), io.data.size()};
  switch (io.op) {
  case request::operation::read:
    return ::pread(file_.get(), memory.iov_base, memory.iov_len, offset) == length;
  case request::operation::write:
    return ::pwritev2(file_.get(), &memory, 1, offset, io.fua ? RWF_DSYNC : 0) == length;
  case request::operation::flush:
    return ::fsync(file_.get()) == 0;
  case request::operation::discard:
    return !is_block_device_ || ::ioctl(file_.get(), BLKDISCARD, range.data()) == 0;
  case request::operation::write_zeroes:
    return is_block_device_ ? ::ioctl(file_.get(), BLKZEROOUT, range.data()) == 0
                            : ::fallocate(file_.get(), FALLOC_FL_ZERO_RANGE, offset, length) == 0;
  case request::operation::prefetch:
    return true;
  }
  return false;
}

} // namespace dmcache::exerciser
