#include "caching/tools/xml_writer.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {
namespace {

class xml_writer_test : public testing::Test {
 protected:
  xml_writer_test()
      : path_{std::filesystem::temp_directory_path() /
              ("xml_writer_test." + std::to_string(::getpid()))},
        file_{output_file::create(path_).value()} {
    block_.data_block_size = 128;
    block_.cache_blocks = 1024;
    block_.policy_name = {'s', 'm', 'q'};
    block_.policy_version[0] = 2;
    block_.policy_hint_size = 4;
  }
  ~xml_writer_test() override { std::filesystem::remove(path_); }

  std::string written() {
    EXPECT_THAT(writer_.finish(), succeeds());
    EXPECT_THAT(file_.commit(), succeeds());
    std::ostringstream text;
    text << std::ifstream{path_}.rdbuf();
    return text.str();
  }

  std::filesystem::path path_;
  output_file file_;
  xml_writer writer_{file_};
  superblock block_{};
};

TEST_F(xml_writer_test, writes_the_classic_dialect) {
  writer_.begin_superblock(block_);
  writer_.begin_mappings();
  writer_.add({cache_block{0}, origin_block{17}, false});
  writer_.add({cache_block{1}, origin_block{(std::uint64_t{1} << 48) - 1}, true});
  writer_.end_mappings();
  writer_.begin_hints();
  writer_.add_hint(cache_block{0}, 1);
  writer_.add_hint(cache_block{4294967295}, 0xfefdfcfb);
  writer_.end_hints();
  writer_.end_superblock();
  EXPECT_EQ(written(),
            "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"1024\" policy=\"smq\" "
            "hint_width=\"4\">\n"
            "  <mappings>\n"
            "    <mapping cache_block=\"0\" origin_block=\"17\" dirty=\"false\"/>\n"
            "    <mapping cache_block=\"1\" origin_block=\"281474976710655\" dirty=\"true\"/>\n"
            "  </mappings>\n"
            "  <hints>\n"
            "    <hint cache_block=\"0\" data=\"AQAAAA==\"/>\n"
            "    <hint cache_block=\"4294967295\" data=\"+/z9/g==\"/>\n"
            "  </hints>\n"
            "</superblock>\n");
}

TEST_F(xml_writer_test, puts_into_comments_what_would_be_lost) {
  block_.policy_hint_size = 0;
  block_.policy_version[1] = 1;
  block_.write_misses = 9;
  block_.discard_block_size = 256;
  block_.discard_nr_blocks = 64;
  writer_.begin_superblock(block_);
  writer_.begin_discards(block_);
  writer_.add_discard(0, 8);
  writer_.end_discards();
  EXPECT_EQ(written(),
            "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"1024\" policy=\"smq\" "
            "hint_width=\"4\">\n"
            "  <!-- dmcache: <superblock hint_width=\"0\" policy_version=\"2.1.0\" read_hits=\"0\" "
            "read_misses=\"0\" write_hits=\"0\" write_misses=\"9\"/> -->\n"
            "  <!-- dmcache:\n"
            "  <discards block_size=\"256\" nr_blocks=\"64\">\n"
            "    <discard dbegin=\"0\" dend=\"8\"/>\n"
            "  </discards>\n"
            "  -->\n");
}

TEST_F(xml_writer_test, any_number_of_discards_can_be_read_again) {
  constexpr std::uint64_t nr_ranges = 20001;
  block_.discard_block_size = std::uint32_t{block_.data_block_size};
  block_.discard_nr_blocks = 2 * nr_ranges;
  writer_.begin_superblock(block_);
  writer_.begin_mappings();
  writer_.end_mappings();
  writer_.begin_discards(block_);
  for (std::uint64_t i = 0; i < nr_ranges; ++i) {
    writer_.add_discard(2 * i, 2 * i + 1);
  }
  writer_.end_discards();
  writer_.end_superblock();
  std::string text = written();
  const auto contents = read_xml(
      [&text](std::span<char> into) -> result<std::size_t> {
        const std::size_t count = std::min(into.size(), text.size());
        std::copy_n(text.begin(), count, into.begin());
        text.erase(0, count);
        return count;
      },
      {.accept = [](const superblock & /*block*/) { return xml_elements::fault{}; }});
  ASSERT_THAT(contents, succeeds());
  for (std::uint64_t i = 0; i < 2 * nr_ranges; ++i) {
    ASSERT_EQ((*contents)->is_discarded(origin_block{i}), i % 2 == 0) << i;
  }
}

TEST_F(xml_writer_test, writes_more_than_its_buffer_holds) {
  constexpr std::size_t nr_mappings = 50000;
  const mapping longest{cache_block{4294967295}, origin_block{(std::uint64_t{1} << 48) - 1}, false};
  for (std::size_t i = 0; i < nr_mappings; ++i) {
    writer_.add(longest);
  }
  const std::string line = "    <mapping cache_block=\"4294967295\" "
                           "origin_block=\"281474976710655\" dirty=\"false\"/>\n";
  const std::string text = written();
  ASSERT_EQ(text.size(), nr_mappings * line.size());
  for (std::size_t i = 0; i < nr_mappings; ++i) {
    ASSERT_EQ(text.compare(i * line.size(), line.size(), line), 0) << i;
  }
}

} // namespace
} // namespace dmcache
