#include "caching/tools/metadata_pack.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "caching/metadata/testing/metadata_image.h"
#include "caching/tools/metadata_unpack.h"

namespace dmcache {
namespace {

class metadata_pack_test : public testing::Test {
 protected:
  metadata_pack_test()
      : path_{std::filesystem::temp_directory_path() /
              ("metadata_pack_test." + std::to_string(::getpid()))} {
    stored_.write();
  }
  ~metadata_pack_test() override { std::filesystem::remove(path_); }

  result<std::uint64_t> pack(device &from, const pack_options &options) {
    auto file = output_file::create(path_);
    report quiet{"test", true};
    auto packed = dmcache::pack(from, options, *file, quiet);
    EXPECT_THAT(file->commit(), succeeds());
    return packed;
  }

  result<> unpack(device &to) {
    const auto open = [this]() -> result<read_text> {
      return [file = std::make_shared<std::ifstream>(path_)](
                 std::span<char> into) -> result<std::size_t> {
        file->read(into.data(), static_cast<std::streamsize>(into.size()));
        return static_cast<std::size_t>(file->gcount());
      };
    };
    const auto verified = verify_pack(open);
    EXPECT_THAT(verified, succeeds());
    progress quiet{true};
    return dmcache::unpack(open, *verified, to, quiet);
  }

  std::filesystem::path path_;
  metadata_image stored_{2};
};

TEST_F(metadata_pack_test, says_how_many_blocks_it_could_not_read_and_packs_the_rest) {
  for (const bool all_valid : {false, true}) {
    faulty_device from{stored_.image.device};
    constexpr std::uint64_t bad = metadata_image::discard_root;
    from.fail_reads(offset_of(metadata_block{bad}), offset_of(metadata_block{bad + 1}));
    const auto nr_unreadable = pack(from, {.all_valid = all_valid});
    ASSERT_THAT(nr_unreadable, succeeds());
    EXPECT_EQ(*nr_unreadable, 1U);
    memory_device to{from.size()};
    ASSERT_THAT(unpack(to), succeeds());
    const auto block = read_superblock(to);
    ASSERT_THAT(block, succeeds());
    EXPECT_EQ(block->mapping_root, metadata_image::mapping_root);
  }
}

} // namespace
} // namespace dmcache
