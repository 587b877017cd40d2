#include "caching/tools/metadata_unpack.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "caching/metadata/cache_contents.h"
#include "caching/metadata/testing/described_cache.h"
#include "caching/metadata/testing/stored_metadata.h"
#include "caching/tools/testing/packed_file.h"

namespace dmcache {
namespace {

constexpr std::uint64_t nr_device_blocks = 32;

using raw_image = std::vector<std::byte>;

enum class outcome : std::uint8_t { none, old, renewed, mixed };

class metadata_unpack_test : public testing::Test {
 protected:
  // A cache of 1200 blocks, which cache origin blocks from `first_origin` on.
  static void write(device &to, std::uint64_t first_origin) {
    const superblock block = described_cache(2, 1200);
    cache_contents contents{block};
    for (std::uint64_t n = 0; n < block.cache_blocks; ++n) {
      EXPECT_FALSE(contents.add({cache_block{n}, origin_block{first_origin + n}, n % 3 == 0}));
    }
    progress quiet{true};
    EXPECT_THAT(contents.write(to, quiet), succeeds());
  }

  static raw_image image_of(const memory_device &on) {
    return {on.contents().begin(), on.contents().end()};
  }

  void pack(device &from, bool all_valid = false) {
    EXPECT_THAT(file_.pack(from, {.all_valid = all_valid}), succeeds());
  }
  result<> unpack(device &to) { return file_.unpack(to); }

  // What is there, where caches from these origin blocks on stood and were unpacked.
  static outcome found_on(raw_image data, std::uint64_t old_origin, std::uint64_t new_origin) {
    memory_device on{std::move(data)};
    if (!read_superblock(on)) {
      return outcome::none;
    }
    const stored_metadata found = stored_on(on);
    const auto is_from = [&](std::uint64_t origin) {
      return found.damage.empty() && found.mapped.size() == 1200 &&
             std::ranges::all_of(found.mapped, [&](const auto &each) {
               return each.second == stored_mapping{origin + each.first, each.first % 3 == 0};
             });
    };
    return is_from(old_origin)   ? outcome::old
           : is_from(new_origin) ? outcome::renewed
                                 : outcome::mixed;
  }

  // What power cuts at every point leave where `old` stood, of a cache from origin block 0 on, when
  // one from 5000 on is unpacked.
  std::set<outcome> outcomes_of_power_cuts(const raw_image &old) {
    std::set<outcome> outcomes;
    bool is_done = false;
    for (std::uint64_t cut = 0; !is_done; ++cut) {
      for (std::uint64_t trial = 0; trial < 5; ++trial) {
        simulated_device on{old, trial};
        on.cut_power_at(cut);
        is_done = unpack(on).has_value();
        const outcome found = found_on(on.after_power_cut(), 0, 5000);
        EXPECT_TRUE(!is_done || found == outcome::renewed) << cut;
        outcomes.insert(found);
      }
    }
    return outcomes;
  }

  packed_file file_{"metadata_unpack_test"};
  memory_device from_{bytes{nr_device_blocks * metadata_block_size}};
};

TEST_F(metadata_unpack_test,
       what_is_not_in_the_way_stays_in_force_until_the_superblock_is_written) {
  write(from_, 0);
  const raw_image old = image_of(from_);
  write(from_, 5000); // beside the other one
  pack(from_);
  EXPECT_EQ(outcomes_of_power_cuts(old), (std::set{outcome::old, outcome::renewed}));
}

TEST_F(metadata_unpack_test, what_is_in_the_way_is_given_up_before_it_is_overwritten) {
  write(from_, 0);
  const raw_image old = image_of(from_);
  memory_device other{from_.size()};
  write(other, 5000);
  pack(other);
  EXPECT_EQ(outcomes_of_power_cuts(old), (std::set{outcome::none, outcome::old, outcome::renewed}));
}

TEST_F(metadata_unpack_test, a_write_that_fails_leaves_the_old_metadata_or_none) {
  write(from_, 0);
  const raw_image old = image_of(from_);
  write(from_, 5000);
  pack(from_);
  memory_device other{from_.size()};
  write(other, 7000);
  for (const auto &[before, origin] : {std::pair{old, 0U}, std::pair{image_of(other), 7000U}}) {
    for (std::uint64_t bad = 1; bad < nr_device_blocks; ++bad) {
      memory_device to{raw_image{before}};
      faulty_device faulty{to};
      faulty.fail_writes(bytes{bad * metadata_block_size}, bytes{(bad + 1) * metadata_block_size});
      const auto done = unpack(faulty);
      const outcome left = found_on(image_of(to), origin, 5000);
      if (done) {
        EXPECT_EQ(left, outcome::renewed) << bad;
        continue;
      }
      const bool says_old = done.error().message.ends_with("still holds what it held");
      EXPECT_EQ(left, says_old ? outcome::old : outcome::none) << done.error().message;
    }
  }
}

TEST_F(metadata_unpack_test, what_a_pack_lacks_is_not_taken_from_what_stood_there) {
  write(from_, 5000);
  memory_device other{from_.size()};
  write(other, 0);
  std::uint64_t nr_with_damage = 0;
  for (const bool all_valid : {false, true}) {
    for (std::uint64_t bad = 1; bad < nr_device_blocks; ++bad) {
      faulty_device faulty{from_};
      faulty.fail_reads(bytes{bad * metadata_block_size}, bytes{(bad + 1) * metadata_block_size});
      pack(faulty, all_valid);
      memory_device to{image_of(other)};
      ASSERT_THAT(unpack(to), succeeds());
      const stored_metadata found = stored_on(to);
      for (const auto &[block, mapped] : found.mapped) {
        ASSERT_EQ(mapped.origin, 5000 + block) << bad;
      }
      EXPECT_TRUE(found.mapped.size() == 1200 || !found.damage.empty()) << bad;
      nr_with_damage += found.damage.empty() ? 0U : 1U;
    }
  }
  EXPECT_GT(nr_with_damage, 10U);
}

TEST_F(metadata_unpack_test, a_chunk_that_cannot_be_decompressed_is_named_by_its_number) {
  pack_header head{.magic = pack_header::magic_value,
                   .checksum = {},
                   .version = pack_header::known_version,
                   .device_blocks = nr_device_blocks};
  const auto bytes_of = [](auto &object) { return std::as_writable_bytes(std::span{&object, 1}); };
  head.checksum = crc32c(bytes_of(head).subspan(offsetof(pack_header, version)));
  pack_chunk_header chunk{.checksum = {}, .ordinal = 0, .nr_blocks = 1, .size = 0};
  chunk.checksum = crc32c(bytes_of(chunk).subspan(sizeof chunk.checksum));
  std::vector<std::byte> whole;
  std::ranges::copy(bytes_of(head), std::back_inserter(whole));
  std::ranges::copy(bytes_of(chunk), std::back_inserter(whole));
  const auto open = [&]() -> result<read_text> {
    return [rest = std::span{whole}](std::span<char> into) mutable -> result<std::size_t> {
      const std::size_t count = std::min(rest.size(), into.size());
      std::ranges::copy(rest.first(count), std::as_writable_bytes(into).begin());
      rest = rest.subspan(count);
      return count;
    };
  };
  EXPECT_THAT(verify_pack(open),
              fails_with(failure::failed, "this is no whole pack of metadata: chunk 0 can't be "
                                          "decompressed"));
}

} // namespace
} // namespace dmcache
