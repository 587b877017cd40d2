#include "base/image_locks.h"

#include <fcntl.h>

#include <cerrno>
#include <string>

#include <gtest/gtest.h>

#include "base/file_descriptor.h"

namespace dmcache {
namespace {

constexpr bool reads = false;
constexpr bool writes = true;

// What qemu-system does with a disk, and qemu-img with what it looks at. Of the numbers, 0 is to read,
// 1 to write, 3 to resize.
constexpr off_t done_by_user = 100;
constexpr off_t not_borne_by_user = 200;

class image_locks_test : public testing::Test {
 protected:
  image_locks_test() : path_{testing::TempDir() + "image_locks.XXXXXX"} {
    first_ = file_descriptor{::mkstemp(path_.data())};
    second_ = open_again();
  }
  ~image_locks_test() override { ::unlink(path_.c_str()); }

  file_descriptor open_again() const { return file_descriptor{::open(path_.c_str(), O_RDWR)}; }

  static bool is_refused(const file_descriptor &file, bool is_written) {
    return !take_image_locks(file.get(), is_written) && errno == EWOULDBLOCK;
  }
  static bool lock_as_qemu_does(const file_descriptor &file, off_t byte) {
    struct flock lock{};
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return ::fcntl(file.get(), F_OFD_SETLK, &lock) == 0;
  }

  std::string path_;
  file_descriptor first_;
  file_descriptor second_;
};

TEST_F(image_locks_test, readers_bear_each_other) {
  EXPECT_TRUE(take_image_locks(first_.get(), reads));
  EXPECT_TRUE(take_image_locks(second_.get(), reads));
}

TEST_F(image_locks_test, a_writer_bears_nobody_and_nobody_bears_a_writer) {
  ASSERT_TRUE(take_image_locks(first_.get(), writes));
  EXPECT_TRUE(is_refused(second_, reads));
  EXPECT_TRUE(is_refused(second_, writes));
  give_up_image_locks(first_.get());
  ASSERT_TRUE(take_image_locks(second_.get(), reads));
  EXPECT_TRUE(is_refused(first_, writes));
}

TEST_F(image_locks_test, who_was_refused_is_in_nobodys_way) {
  ASSERT_TRUE(take_image_locks(first_.get(), reads));
  ASSERT_TRUE(is_refused(second_, writes));
  EXPECT_TRUE(take_image_locks(open_again().get(), reads));
}

TEST_F(image_locks_test, a_copy_of_the_descriptor_has_them_too) {
  {
    const file_descriptor third = open_again();
    ASSERT_TRUE(take_image_locks(third.get(), writes));
    first_ = file_descriptor{::dup(third.get())};
  }
  EXPECT_TRUE(is_refused(second_, reads));
}

TEST_F(image_locks_test, a_disk_that_qemu_writes_to_is_in_use) {
  ASSERT_TRUE(lock_as_qemu_does(first_, done_by_user + 1));
  EXPECT_TRUE(is_refused(second_, reads));
  EXPECT_TRUE(is_refused(second_, writes));
}

TEST_F(image_locks_test, an_image_that_qemu_reads_can_be_read_but_not_written) {
  ASSERT_TRUE(lock_as_qemu_does(first_, done_by_user + 0));
  ASSERT_TRUE(lock_as_qemu_does(first_, not_borne_by_user + 1));
  EXPECT_TRUE(take_image_locks(second_.get(), reads));
  EXPECT_TRUE(is_refused(second_, writes));
}

} // namespace
} // namespace dmcache
