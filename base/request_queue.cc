#include "base/request_queue.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

namespace dmcache {

bool is_block_device(int file) {
  struct stat status{};
  return ::fstat(file, &status) == 0 && S_ISBLK(status.st_mode);
}

int allocation_mode(const io_request &request) {
  const bool is_hole = request.op == io_request::operation::discard || request.may_trim;
  return FALLOC_FL_KEEP_SIZE | (is_hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

long discard_or_zero(int file, const io_request &request) {
  // A block device's holes are zeroes, which not every device that discards can make.
  if (request.op == io_request::operation::discard && is_block_device(file)) {
    std::array<std::uint64_t, 2> range{request.offset.value(), request.length.value()};
    return ::ioctl(file, BLKDISCARD, range.data()) == 0 ? 0 : -errno;
  }
  const auto offset = static_cast<off_t>(request.offset.value());
  const auto length = static_cast<off_t>(request.length.value());
  return ::fallocate(file, allocation_mode(request), offset, length) == 0 ? 0 : -errno;
}

std::unique_ptr<request_queue> make_request_queue(std::size_t depth) {
  return make_lasting_queue({make_uring_queue, make_aio_queue, make_waiting_queue}, depth);
}

} // namespace dmcache
