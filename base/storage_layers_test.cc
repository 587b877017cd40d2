// Against a folder that is laid out as /sys is.

#include "base/storage_layers.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

struct loop_setting {
  std::uint64_t offset = 0;
  std::uint64_t limit = 0;
};

class storage_layers_test : public testing::Test {
 protected:
  storage_layers_test() {
    fs::create_directories(folder_ / "dev/block");
    add_device({"sda"}, 8, 0);
    add_device({"sdb"}, 8, 16);
    add_partition("sda", "sda1", 1, 2048, 1000);
    add_partition("sda", "sda2", 2, 3048, 1000);
  }
  ~storage_layers_test() override { fs::remove_all(folder_); }

  void write(const fs::path &file, const std::string &text) {
    fs::create_directories((folder_ / file).parent_path());
    std::ofstream{folder_ / file} << text << '\n';
  }

  void add_at(const std::string &where, unsigned major, unsigned minor) {
    const std::string number = std::to_string(major) + ":" + std::to_string(minor);
    write(where + "/dev", number);
    fs::create_directory_symlink(folder_ / where, folder_ / "dev/block" / number);
  }
  void add_device(const std::string &name, unsigned major, unsigned minor) {
    add_at("devices/" + name, major, minor);
    fs::create_directory(folder_ / "devices" / name / "slaves");
  }
  void add_partition(const std::string &disk, const std::string &name, unsigned number,
                     std::uint64_t start, std::uint64_t size) {
    const std::string where = "devices/" + disk + "/" + name;
    add_at(where, 8, number);
    write(where + "/partition", std::to_string(number));
    write(where + "/start", std::to_string(start));
    write(where + "/size", std::to_string(size));
  }
  void add_loop(unsigned minor, const std::string &file, loop_setting how = {}) {
    const std::string where = "devices/loop" + std::to_string(minor);
    add_device("loop" + std::to_string(minor), 7, minor);
    write(where + "/loop/backing_file", file);
    write(where + "/loop/offset", std::to_string(how.offset));
    write(where + "/loop/sizelimit", std::to_string(how.limit));
  }
  void stack(const std::string &upper, const std::string &lower) {
    fs::create_directory_symlink(folder_ / "devices" / lower, folder_ / "devices" / upper /
                                                                  "slaves" /
                                                                  fs::path{lower}.filename());
  }

  storage_layers device(const device_part &part, unsigned major, unsigned minor) const {
    return {gnu_dev_makedev(major, minor), part, folder_};
  }
  storage_layers sda() const { return device({"sda"}, 8, 0); }
  storage_layers sda1() const { return device({"sda1"}, 8, 1); }
  storage_layers sda2() const { return device({"sda2"}, 8, 2); }
  // Numbers that no real loop device has, as that one would be asked.
  storage_layers loop(unsigned number) const {
    return device("loop" + std::to_string(number), 7, number);
  }
  storage_layers dm(unsigned number) const {
    return device("dm-" + std::to_string(number), 253, number);
  }

  static void expect_overlap(const storage_layers &one, const storage_layers &other,
                             const std::string &how) {
    EXPECT_EQ(one.overlap(other), how);
    EXPECT_TRUE(other.overlap(one).has_value()) << how;
  }
  static void expect_none(const storage_layers &one, const storage_layers &other) {
    EXPECT_EQ(one.overlap(other), std::nullopt);
    EXPECT_EQ(other.overlap(one), std::nullopt);
  }

  fs::path folder_ = fs::temp_directory_path() / ("storage_layers." + std::to_string(::getpid()));
};

TEST_F(storage_layers_test, a_partition_lies_on_its_disk_and_not_on_another) {
  expect_overlap(sda1(), sda(), "sda1 lies on sda");
  expect_none(sda1(), sda2());
  expect_none(sda1(), device({"sdb"}, 8, 16));
}

TEST_F(storage_layers_test, partitions_that_overlap_share_a_part_of_their_disk) {
  add_partition("sda", "sda3", 3, 4047, 100);
  expect_overlap(sda2(), device({"sda3"}, 8, 3), "sda2 and sda3 lie on the same part of /dev/sda");
  expect_none(sda1(), device({"sda3"}, 8, 3));
}

TEST_F(storage_layers_test, a_stacked_device_lies_on_all_that_it_is_made_of) {
  for (const unsigned number : {0U, 1U, 2U}) {
    add_device("dm-" + std::to_string(number), 253, number);
  }
  stack("dm-0", "sda/sda1"); // two volumes of a group
  stack("dm-1", "sda/sda1");
  stack("dm-2", "dm-1"); // and what encrypts one of them
  expect_overlap(dm(0), sda1(), "dm-0 lies on sda1");
  expect_overlap(dm(2), sda1(), "dm-2 lies on sda1");
  expect_overlap(dm(2), sda(), "dm-2 lies on sda");
  expect_overlap(dm(2), dm(1), "dm-2 lies on dm-1");
  expect_none(dm(0), dm(1));
  expect_none(dm(0), dm(2));
  expect_none(dm(0), sda2());
}

TEST_F(storage_layers_test, a_loop_device_lies_on_its_file) {
  const std::string file = folder_ / "file";
  const std::string other = folder_ / "other";
  write("file", "");
  write("other", "");
  fs::create_hard_link(file, folder_ / "link");
  add_loop(2001, file);
  add_device("dm-0", 253, 0);
  stack("dm-0", "loop2001");
  expect_overlap(loop(2001), storage_layers{file}, "loop2001 lies on " + file);
  expect_overlap(loop(2001), storage_layers{{folder_ / "link"}},
                 "loop2001 lies on " + (folder_ / "link").string());
  expect_overlap(dm(0), storage_layers{file}, "dm-0 lies on " + file);
  expect_none(loop(2001), storage_layers{other});
}

TEST_F(storage_layers_test, what_lies_on_a_loop_device_lies_on_its_file_as_well) {
  const std::string file = folder_ / "file";
  write("file", "");
  add_loop(2001, file, {.offset = 4096});
  EXPECT_TRUE(loop(2001).lies_on({true, gnu_dev_makedev(7, 2001), 0}));
  EXPECT_TRUE(loop(2001).lies_on(identity_of(file).value()));
  EXPECT_FALSE(loop(2001).lies_on({true, gnu_dev_makedev(7, 2002), 0}));
}

TEST_F(storage_layers_test, loop_devices_of_one_file_overlap_where_their_ranges_do) {
  const std::string file = folder_ / "file";
  write("file", "");
  add_loop(2001, file);
  add_loop(2002, file, {.offset = 4096, .limit = 4096});
  add_loop(2003, file, {.offset = 8192});
  add_loop(2004, file, {.limit = 4097});
  expect_overlap(loop(2001), loop(2002), "loop2001 and loop2002 lie on the same part of " + file);
  expect_overlap(loop(2001), loop(2003), "loop2001 and loop2003 lie on the same part of " + file);
  expect_none(loop(2002), loop(2003));
  expect_overlap(loop(2002), loop(2004), "loop2002 and loop2004 lie on the same part of " + file);
  expect_none(loop(2003), loop(2004));
}

TEST_F(storage_layers_test, parts_of_a_device_overlap_where_their_ranges_do) {
  const auto part = [&](std::uint64_t begin, std::optional<bytes> size) {
    return device({"sda", bytes{begin}, size}, 8, 0);
  };
  expect_none(part(0, bytes{4096}), part(4096, {}));
  expect_none(part(8192, {}), part(4096, bytes{4096}));
  expect_overlap(part(0, bytes{4097}), part(4096, {}), "the parts of sda overlap");
  expect_overlap(part(0, {}), part(8192, bytes{512}), "the parts of sda overlap");
  expect_overlap(part(4096, bytes{512}), part(4096, bytes{512}), "the parts of sda overlap");
}

TEST_F(storage_layers_test, a_part_shares_with_what_lies_there_or_may_lie_there) {
  const auto part = [&](std::uint64_t begin, std::uint64_t size) {
    return device({"sda", bytes{begin * 512}, bytes{size * 512}}, 8, 0);
  };
  expect_overlap(sda1(), part(0, 2049), "sda1 lies on sda");
  expect_none(sda1(), part(0, 2048));
  expect_none(sda1(), part(3048, 1000));
  expect_overlap(sda2(), part(3048, 1000), "sda2 lies on sda");
  const auto end_of_sda1 = device({"sda1", bytes{999 * 512}, {}}, 8, 1);
  expect_overlap(end_of_sda1, part(3047, 1), "sda1 lies on sda");
  expect_none(end_of_sda1, part(3046, 1));
  expect_none(end_of_sda1, part(3048, 1));
  add_device("dm-0", 253, 0);
  stack("dm-0", "sda");
  expect_overlap(dm(0), part(0, 1), "dm-0 lies on sda");
}

TEST_F(storage_layers_test, a_part_of_a_loop_device_lies_on_a_part_of_its_file) {
  const std::string file = folder_ / "file";
  write("file", "");
  add_loop(2001, file, {.offset = 4096});
  const auto part = device({"loop2001", bytes{4096}, bytes{4096}}, 7, 2001);
  expect_overlap(part, storage_layers{{file, bytes{8192}, bytes{512}}}, "loop2001 lies on " + file);
  expect_none(part, storage_layers{{file, bytes{4096}, bytes{4096}}});
  expect_none(part, storage_layers{{file, bytes{12288}}});
}

TEST_F(storage_layers_test, what_is_not_described_shares_nothing) {
  expect_none(device({"sdz"}, 65, 144), sda());
  add_loop(2001, folder_ / "gone");
  expect_none(loop(2001), sda());
}

TEST_F(storage_layers_test, one_file_under_two_names_is_refused) {
  const std::string file = folder_ / "file";
  const std::string link = folder_ / "link";
  write("file", "");
  fs::create_hard_link(file, link);
  const auto outcome = [](std::string fast, std::string origin) {
    return check_that_they_differ(std::array{device_in_role{"fast device", std::move(fast)},
                                             device_in_role{"origin", std::move(origin)}});
  };
  EXPECT_THAT(
      outcome(file, file),
      fails_with(failure::usage, "the fast device and the origin are the same device: " + file));
  EXPECT_THAT(outcome(file, link),
              fails_with(failure::usage, "the fast device and the origin are the same device: " +
                                             file + ", " + link));
  EXPECT_THAT(outcome(file, folder_ / "missing"), succeeds());
}

TEST_F(storage_layers_test, parts_of_one_file_are_refused_if_they_overlap) {
  const std::string file = folder_ / "file";
  write("file", "");
  const auto outcome = [&](std::uint64_t fast_end) {
    return check_that_they_differ(
        std::array{device_in_role{"fast device", {file, bytes{0}, bytes{fast_end}}},
                   device_in_role{"origin", {file, bytes{4096}}}});
  };
  EXPECT_THAT(outcome(4096), succeeds());
  EXPECT_THAT(outcome(4608),
              fails_with(failure::usage,
                         "the fast device and the origin share storage: the parts of " + file +
                             " overlap: a cache needs three devices that have nothing in "
                             "common"));
}

} // namespace
} // namespace dmcache
