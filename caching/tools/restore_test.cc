#include "caching/tools/restore.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/lent_device.h"
#include "base/memory_device.h"
#include "base/testing/faulty_device.h"
#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "caching/metadata/testing/stored_metadata.h"
#include "caching/tools/check.h"

namespace dmcache {
namespace {

constexpr std::uint64_t output_size = std::uint64_t{1} << 18;

std::string document_of(std::uint64_t first_origin) {
  std::string text = "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"2000\" "
                     "policy=\"smq\" hint_width=\"4\">\n  <mappings>\n";
  for (std::uint64_t n = 0; n < 2000; ++n) {
    text += fmt::format("    <mapping cache_block=\"{}\" origin_block=\"{}\" dirty=\"{}\"/>\n", n,
                        first_origin + n, n % 3 == 0);
  }
  return text + "  </mappings>\n  <hints>\n  </hints>\n</superblock>\n";
}

read_text text_of(std::string text) {
  return [text = std::move(text),
          at = std::size_t{0}](std::span<char> into) mutable -> result<std::size_t> {
    const std::size_t count = text.copy(into.data(), into.size(), at);
    at += count;
    return count;
  };
}

result<> restore_document(const read_text &document, device &to) {
  const auto contents = read_document(document, to.size(), {});
  if (!contents) {
    return std::unexpected{contents.error()};
  }
  report quiet{"test", true};
  return restore(**contents, to, {}, quiet);
}

// The origin block of cache block 0; nothing if there are no metadata.
std::optional<std::uint64_t> first_origin_on(std::vector<std::byte> image) {
  memory_device on{std::move(image)};
  auto metadata = read_metadata_device(std::make_unique<lent_device>(on));
  if (!metadata) {
    return {};
  }
  report quiet{"test", true};
  EXPECT_EQ(check(std::move(*metadata), {}, quiet), 0);
  const mapping_map mapped = sound_on(on).mapped;
  return mapped.empty() ? std::nullopt : std::optional{mapped.begin()->second.origin};
}

std::vector<std::byte> contents_of(const memory_device &device) {
  return {device.contents().begin(), device.contents().end()};
}

// What may be there after power cuts at every point of a restore onto a device of `size`, which
// held other metadata.
std::set<std::optional<std::uint64_t>> outcomes_of_power_cuts(std::uint64_t size) {
  memory_device before{bytes{size}};
  EXPECT_THAT(restore_document(text_of(document_of(0)), before), succeeds());
  const std::vector<std::byte> image = contents_of(before);
  std::set<std::optional<std::uint64_t>> outcomes;
  bool is_done = false;
  for (std::uint64_t cut = 0; !is_done; ++cut) {
    for (std::uint64_t trial = 0; trial < 10; ++trial) {
      simulated_device on{image, trial};
      on.cut_power_at(cut);
      is_done = restore_document(text_of(document_of(5000)), on).has_value();
      const auto found = first_origin_on(on.after_power_cut());
      EXPECT_TRUE(!is_done || found == 5000) << cut;
      outcomes.insert(found);
    }
  }
  return outcomes;
}

TEST(restore, cut_short_by_a_power_cut_leaves_the_old_metadata_or_the_new_ones) {
  const std::set<std::optional<std::uint64_t>> expected{0, 5000};
  EXPECT_EQ(outcomes_of_power_cuts(output_size), expected);
}

TEST(restore, cut_short_by_a_power_cut_leaves_old_or_new_or_none_if_there_is_no_room_for_both) {
  const std::set<std::optional<std::uint64_t>> expected{std::nullopt, 0, 5000};
  EXPECT_EQ(outcomes_of_power_cuts(std::uint64_t{16} * metadata_block_size), expected);
}

TEST(restore, leaves_the_old_metadata_when_a_write_fails) {
  memory_device device{bytes{output_size}};
  ASSERT_THAT(restore_document(text_of(document_of(0)), device), succeeds());
  constexpr std::uint64_t used = 12; // by the old ones, and as many by the new ones above
  for (std::uint64_t block = used; block < 2 * used - 1; ++block) {
    faulty_device faulty{device};
    faulty.fail_writes(bytes{block * metadata_block_size},
                       bytes{(block + 1) * metadata_block_size});
    const auto restored = restore_document(text_of(document_of(5000)), faulty);
    ASSERT_THAT(restored, fails_with(failure::environment)) << block;
    EXPECT_TRUE(restored.error().message.ends_with(": the output still holds what it held"));
    EXPECT_EQ(first_origin_on(contents_of(device)), 0);
  }
}

TEST(restore, leaves_no_metadata_when_a_write_fails_and_there_is_no_room_for_both) {
  for (const std::uint64_t block : {1U, 3U, 7U}) {
    memory_device device{bytes{std::uint64_t{16} * metadata_block_size}};
    ASSERT_THAT(restore_document(text_of(document_of(0)), device), succeeds());
    faulty_device faulty{device};
    faulty.fail_writes(bytes{block * metadata_block_size},
                       bytes{(block + 1) * metadata_block_size});
    const auto restored = restore_document(text_of(document_of(5000)), faulty);
    ASSERT_THAT(restored, fails_with(failure::environment)) << block;
    EXPECT_TRUE(restored.error().message.ends_with(": the output holds none"));
    EXPECT_THAT(read_superblock(device), fails_with(failure::failed)) << block;
  }
}

TEST(restore, leaves_the_output_as_it_was_if_it_reads_back_something_else) {
  memory_device device{bytes{output_size}};
  ASSERT_THAT(restore_document(text_of(document_of(0)), device), succeeds());
  faulty_device faulty{device};
  faulty.fail_reads(bytes{14 * metadata_block_size}, bytes{15 * metadata_block_size});
  EXPECT_THAT(restore_document(text_of(document_of(5000)), faulty),
              fails_with(failure::environment,
                         "what was written is not sound: the output still holds what it held"));
  EXPECT_EQ(first_origin_on(contents_of(device)), 0);
}

TEST(restore, leaves_every_byte_alone_if_the_document_is_wrong_or_cannot_be_read) {
  memory_device device{bytes{output_size}};
  ASSERT_THAT(restore_document(text_of(document_of(0)), device), succeeds());
  const auto before = contents_of(device);
  const read_text broken = [](std::span<char>) -> result<std::size_t> {
    return fail(failure::environment, "the disk is gone");
  };
  EXPECT_THAT(restore_document(broken, device),
              fails_with(failure::environment, "the disk is gone"));
  const std::string whole = document_of(0);
  for (std::size_t length = 0; length < whole.size() - 1; length += 997) {
    EXPECT_THAT(restore_document(text_of(whole.substr(0, length)), device),
                fails_with(failure::failed));
  }
  EXPECT_EQ(contents_of(device), before);
}

TEST(restore, makes_room_for_a_second_version) {
  const auto contents = read_document(text_of(document_of(0)), {}, {});
  ASSERT_THAT(contents, succeeds());
  memory_device device{device_size_for(**contents)};
  report quiet{"test", true};
  EXPECT_THAT(restore(**contents, device, {}, quiet), succeeds());
  const auto before = contents_of(device);
  EXPECT_THAT(restore_document(text_of(document_of(5000)), device), succeeds());
  std::ranges::copy(std::span{before}.first(metadata_block_size), device.contents().begin());
  EXPECT_EQ(first_origin_on(contents_of(device)), 0);
}

TEST(restore, makes_it_for_more_discards_than_the_estimate_knows_of) {
  superblock block{};
  block.version = 2;
  block.cache_blocks = 100;
  block.discard_nr_blocks = std::uint64_t{1} << 28; // bits: 8192 KiB
  const cache_contents contents{block};
  const bytes size = device_size_for(contents);
  const std::uint64_t nr_blocks = size.value() / metadata_block_size;
  EXPECT_GT(nr_blocks, 2 * 8192 * 1024 / 8 / metadata_block_size);
  EXPECT_GE(nr_blocks, 1 + 2 * cache_contents::blocks_needed(block, size));
}

TEST(restore, needs_as_much_room_as_it_says) {
  memory_device small{bytes{2 * metadata_block_size}};
  const auto refused = restore_document(text_of(document_of(0)), small);
  ASSERT_THAT(refused, fails_with(failure::failed));
  constexpr std::string_view told = "Output file too small: ";
  ASSERT_TRUE(refused.error().message.starts_with(told));
  const std::uint64_t needed = std::stoull(refused.error().message.substr(told.size())) * 1024;
  memory_device enough{bytes{needed}};
  EXPECT_THAT(restore_document(text_of(document_of(0)), enough), succeeds());
  memory_device too_little{bytes{needed - metadata_block_size}};
  EXPECT_THAT(restore_document(text_of(document_of(0)), too_little), fails_with(failure::failed));
}

} // namespace
} // namespace dmcache
