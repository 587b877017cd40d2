#include "base/image_locks.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

namespace dmcache {
namespace {

constexpr off_t done_by_user = 100; // and the number of what is done
constexpr off_t not_borne_by_user = 200;
constexpr off_t end_of_locks = 300;

constexpr off_t reading = 0;
constexpr off_t writing = 1;
constexpr off_t resizing = 3;

constexpr std::array done_by_reader{reading};
constexpr std::array done_by_writer{reading, writing, resizing};
constexpr std::array not_borne{writing, resizing};

struct flock on_bytes(short type, off_t first, off_t length) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = first;
  lock.l_len = length;
  return lock;
}

// Locks can be shared by any number of users. False if somebody, though no QEMU does so, has one alone.
bool take(int file, off_t byte) {
  struct flock lock = on_bytes(F_RDLCK, byte, 1);
  return ::fcntl(file, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

bool is_taken_by_others(int file, off_t byte) {
  struct flock lock = on_bytes(F_WRLCK, byte, 1);
  return ::fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

} // namespace

// As QEMU does, it takes its own locks first, so that of two who come at once each sees the other.
bool take_image_locks(int file, bool is_written) {
  const std::span<const off_t> done =
      is_written ? std::span<const off_t>{done_by_writer} : std::span<const off_t>{done_by_reader};
  const bool is_free =
      std::ranges::all_of(done, [&](off_t each) { return take(file, done_by_user + each); }) &&
      std::ranges::all_of(not_borne,
                          [&](off_t each) { return take(file, not_borne_by_user + each); }) &&
      std::ranges::none_of(
          done, [&](off_t each) { return is_taken_by_others(file, not_borne_by_user + each); }) &&
      std::ranges::none_of(
          not_borne, [&](off_t each) { return is_taken_by_others(file, done_by_user + each); });
  if (!is_free) {
    give_up_image_locks(file);
    errno = EWOULDBLOCK;
  }
  return is_free;
}

void give_up_image_locks(int file) {
  struct flock lock = on_bytes(F_UNLCK, done_by_user, end_of_locks - done_by_user);
  ::fcntl(file, F_OFD_SETLK, &lock);
}

} // namespace dmcache
