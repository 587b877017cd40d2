// The locks by which QEMU's programs, and libvirt through them, keep others off an image or device that
// they use: locks on single bytes of it (OFD locks, fcntl(2)), one for each thing that a user does, and
// one for each that it can't bear others to do. QEMU's block/file-posix.c, RAW_LOCK_PERM_BASE.
#pragma once

namespace dmcache {

// Takes those of a user who reads, and bears no writers, or who writes as well, and bears nobody who
// writes or changes the size. They last until all copies of the descriptor are closed, or are given up.
// False, with EWOULDBLOCK in errno, if somebody else's are in the way; they are given up then. Where the
// file system has no such locks, nobody is in the way.
bool take_image_locks(int file, bool is_written);
void give_up_image_locks(int file);

} // namespace dmcache
