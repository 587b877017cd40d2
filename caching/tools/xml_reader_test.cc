#include "caching/tools/xml_reader.h"

#include <algorithm>
#include <ostream>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "caching/tools/restore.h"

namespace dmcache {
namespace {

constexpr std::string_view document =
    "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"300\" policy=\"smq\" "
    "hint_width=\"4\">\n"
    "  <mappings>\n"
    "    <mapping cache_block=\"0\" origin_block=\"17\" dirty=\"false\"/>\n"
    "    <mapping cache_block=\"2\" origin_block=\"3\" dirty=\"true\"/>\n"
    "    <mapping cache_block=\"250\" origin_block=\"4\" dirty=\"true\"/>\n"
    "  </mappings>\n"
    "  <hints>\n"
    "    <hint cache_block=\"0\" data=\"AQAAAA==\"/>\n"
    "    <hint cache_block=\"250\" data=\"/wAAAA==\"/>\n"
    "  </hints>\n"
    "  <discards block_size=\"256\" nr_blocks=\"200\">\n"
    "    <discard dbegin=\"0\" dend=\"8\"/>\n"
    "    <discard dbegin=\"60\" dend=\"140\"/>\n"
    "  </discards>\n"
    "</superblock>\n";

read_text text_of(std::string_view text) {
  return [text](std::span<char> into) mutable -> result<std::size_t> {
    const std::size_t count = std::min(text.size(), into.size());
    std::ranges::copy(text.substr(0, count), into.begin());
    text.remove_prefix(count);
    return count;
  };
}

// What reading `text` leads to: the metadata it makes, or the error's text.
std::string outcome_of(std::string_view text, bool only_expat) {
  const auto accept = [](const superblock &block) {
    const auto room = cache_contents::check_room(block, bytes{1U << 18});
    return room ? xml_elements::fault{} : room.error().message;
  };
  const auto contents = read_xml(text_of(text), {.accept = accept, .only_expat = only_expat});
  if (!contents) {
    return contents.error().message;
  }
  memory_device device{bytes{1U << 18}};
  if (const auto written = (*contents)->write(device); !written) {
    return written.error().message;
  }
  const auto image = device.contents();
  return {reinterpret_cast<const char *>(image.data()), image.size()}; // NOLINT
}

std::string replaced(std::string_view what, std::string_view with) {
  std::string text{document};
  return text.replace(text.find(what), what.size(), with);
}

TEST(xml_reader, reads_the_same_with_and_without_the_fast_path) {
  EXPECT_EQ(outcome_of(document, false), outcome_of(document, true));
  EXPECT_EQ(outcome_of(document, false).size(), 1U << 18);
}

TEST(xml_reader, agrees_with_expat_on_mutated_documents) {
  constexpr std::string_view pieces[] = {"<",
                                         ">",
                                         "\"",
                                         "/",
                                         "=",
                                         " ",
                                         "\n",
                                         "1",
                                         "&",
                                         "<!--",
                                         "-->",
                                         "<mappings>\n",
                                         "<hints>\n",
                                         "<![CDATA[",
                                         "]]>",
                                         "    <mapping cache_block=\"1\" origin_block=\"9\" "
                                         "dirty=\"true\"/>\n"};
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random{seed};
  const auto below = [&](std::size_t limit) { return random() % limit; };
  for (int round = 0; round < 4000; ++round) {
    std::string text{document};
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) {
      const std::size_t at = below(text.size());
      switch (below(4)) {
      case 0:
        text.erase(at, 1 + below(4));
        break;
      case 1:
        text.insert(at, pieces[below(std::size(pieces))]);
        break;
      case 2:
        text[at] = static_cast<char>(below(128));
        break;
      default: { // a line again, somewhere else
        const std::size_t begin = text.rfind('\n', at) + 1;
        const std::string line = text.substr(begin, text.find('\n', begin) + 1 - begin);
        const std::size_t to = text.rfind('\n', below(text.size())) + 1;
        text.insert(to, line);
      }
      }
      if (text.empty()) {
        text = document;
      }
    }
    ASSERT_EQ(outcome_of(text, false), outcome_of(text, true)) << text;
  }
}

struct wrong_document {
  std::string_view what;
  std::string_view with;
  std::string_view error;

  friend void PrintTo(const wrong_document &each, std::ostream *to) { *to << each.with; } // NOLINT
};

class xml_reader_errors : public testing::TestWithParam<wrong_document> {};

TEST_P(xml_reader_errors, name_line_and_column) {
  EXPECT_EQ(outcome_of(replaced(GetParam().what, GetParam().with), false), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    each, xml_reader_errors,
    testing::Values(
        wrong_document{"cache_block=\"2\"", "cache_block=\"0\"",
                       "line 4, column 5: cache block 0 is mapped already"},
        wrong_document{"origin_block=\"3\"", "origin_block=\"17\"",
                       "line 4, column 5: origin block 17 is mapped already"},
        wrong_document{"cache_block=\"2\"", "cache_block=\"300\"",
                       "line 4, column 5: cache block 300 is beyond the cache's 300 blocks"},
        wrong_document{"origin_block=\"3\"", "origin_block=\"281474976710656\"",
                       "line 4, column 5: origin block 281474976710656 doesn't fit 48 bits"},
        wrong_document{" dirty=\"true\"", "",
                       "line 4, column 5: <mapping> without attribute dirty"},
        wrong_document{"dirty=\"true\"", "dirty=\"maybe\"",
                       "line 4, column 5: dirty=\"maybe\" is neither true nor false"},
        wrong_document{"dirty=\"true\"", "dirty=\"true\" colour=\"blue\"",
                       "line 4, column 5: <mapping> with unknown attribute colour"},
        wrong_document{"    <mapping cache_block=\"2\"", "    <chart/>",
                       "line 4, column 5: <chart> is not expected here"},
        wrong_document{"AQAAAA==", "AQAA",
                       "line 8, column 5: data=\"AQAA\" is not the base64 of 4 bytes"},
        wrong_document{"hint_width=\"4\"", "hint_width=\"0\"",
                       "line 8, column 5: there are no hints where hint_width is 0"},
        wrong_document{"hint_width=\"4\"", "hint_width=\"8\"",
                       "line 1, column 1: superblock has hint size 8 bytes, where a hint has 4"},
        wrong_document{"dend=\"140\"", "dend=\"201\"",
                       "line 13, column 5: discard block 200 is beyond nr_blocks"},
        wrong_document{"  <hints>", "  <mappings/><hints>",
                       "line 7, column 3: <mappings> a second time, or after a later section"},
        wrong_document{"</superblock>\n", "", "line 15, column 1: no element found"}));

TEST(xml_reader, refuses_document_types) {
  const std::string text = "<!DOCTYPE superblock [<!ENTITY a \"b\">]>\n" + std::string{document};
  EXPECT_NE(outcome_of(text, false).find("a document type declaration, which no dump has"),
            std::string::npos);
}

TEST(restore, leaves_no_valid_metadata_after_a_wrong_document) {
  memory_device device{bytes{1U << 18}};
  ASSERT_TRUE(restore(text_of(document), device, {}).has_value());
  ASSERT_TRUE(read_superblock(device).has_value());
  const auto restored = restore(text_of(document.substr(0, 300)), device, {});
  ASSERT_FALSE(restored.has_value());
  EXPECT_FALSE(read_superblock(device).has_value());
}

TEST(restore, says_how_much_room_is_missing) {
  memory_device device{bytes{5 * metadata_block_size}};
  const auto restored = restore(text_of(document), device, {});
  ASSERT_FALSE(restored.has_value());
  EXPECT_EQ(restored.error().message, "Output file too small: 44 KiB are needed at least, and it "
                                      "has 20");
}

} // namespace
} // namespace dmcache
