#include "caching/tools/metadata_output.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/tools/metadata_pack.h"

namespace dmcache {
namespace {

class metadata_output_test : public testing::Test {
 protected:
  ~metadata_output_test() override { std::filesystem::remove(path_); }

  // Two blocks that begin so.
  void write(std::string text, char fill = '\0') const {
    text.resize(2 * metadata_block_size, fill);
    std::ofstream{path_} << text;
  }
  result<metadata_output> find(bool force = false) const {
    return metadata_output::find(device_part{path_.string()}, force);
  }
  auto holds(const std::string &what) const {
    return fails_with(failure::failed,
                      fmt::format("{} holds {}: nothing was written; --force overwrites it",
                                  path_.string(), what));
  }

  const std::filesystem::path path_ = std::filesystem::temp_directory_path() /
                                      ("metadata_output_test." + std::to_string(::getpid()));
};

TEST_F(metadata_output_test, what_is_made_stands_under_its_name_once_it_is_committed) {
  auto made = find();
  ASSERT_THAT(made, succeeds());
  EXPECT_FALSE(made->size());
  constexpr bytes size{3 * metadata_block_size};
  {
    const auto opened = made->open(size);
    ASSERT_THAT(opened, succeeds());
    EXPECT_EQ((*opened)->size(), size);
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_THAT(made->commit(), succeeds());
  EXPECT_EQ(std::filesystem::file_size(path_), size.value());
}

TEST_F(metadata_output_test, a_file_of_zeroes_is_taken) {
  write("");
  const auto found = find();
  ASSERT_THAT(found, succeeds());
  EXPECT_EQ(found->size(), bytes{2 * metadata_block_size});
}

TEST_F(metadata_output_test, what_holds_something_else_is_not) {
  write("<superblock/>", '\n');
  EXPECT_THAT(find(), holds("XML"));
  write("\x7f"
        "ELF");
  EXPECT_THAT(find(), holds("something else than the metadata of a cache"));
  write({pack_header::magic_value.data(), pack_header::magic_value.size()});
  EXPECT_THAT(find(), holds("a pack of metadata"));
  EXPECT_THAT(find(true), succeeds());
}

TEST_F(metadata_output_test, no_file_is_made_among_devices) {
  EXPECT_THAT(metadata_output::find(device_part{"/dev/no-such-device"}, false),
              fails_with(failure::environment, "Couldn't find /dev/no-such-device: there is no "
                                               "device of this name"));
  EXPECT_THAT(metadata_output::find(device_part{"/dev/shm/no-such-file"}, false), succeeds());
}

} // namespace
} // namespace dmcache
