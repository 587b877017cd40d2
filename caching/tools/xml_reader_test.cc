#include "caching/tools/xml_reader.h"

#include <algorithm>
#include <array>
#include <ostream>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory_device.h"

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

// The same, as cache_dump writes it.
constexpr std::string_view commented =
    "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"300\" policy=\"smq\" "
    "hint_width=\"4\">\n"
    "  <!-- dmcache: <superblock policy_version=\"1.2.3\" read_hits=\"7\"/> -->\n"
    "  <mappings>\n"
    "    <mapping cache_block=\"0\" origin_block=\"17\" dirty=\"false\"/>\n"
    "  </mappings>\n"
    "  <hints>\n"
    "  </hints>\n"
    "  <!-- dmcache:\n"
    "  <discards block_size=\"256\" nr_blocks=\"200\">\n"
    "    <discard dbegin=\"0\" dend=\"8\"/>\n"
    "  </discards>\n"
    "  -->\n"
    "</superblock>\n";

constexpr std::size_t document_output_size = std::size_t{1} << 20;

read_text text_of(std::string_view text) {
  return [text](std::span<char> into) mutable -> result<std::size_t> {
    const std::size_t count = text.copy(into.data(), into.size());
    text.remove_prefix(count);
    return count;
  };
}

// What reading `text` leads to: the metadata it makes, or the error's text.
std::string outcome_of(std::string_view text, bool only_expat) {
  const auto accept = [](const superblock &block) {
    const auto room = cache_contents::check_room(block, bytes{document_output_size});
    return room ? xml_elements::fault{} : room.error().message;
  };
  const auto contents = read_xml(text_of(text), {.accept = accept, .only_expat = only_expat});
  if (!contents) {
    return contents.error().message;
  }
  memory_device device{bytes{document_output_size}};
  progress quiet{true};
  if (const auto written = (*contents)->write(device, quiet); !written) {
    return written.error().message;
  }
  const auto image = device.contents();
  return {reinterpret_cast<const char *>(image.data()), image.size()}; // NOLINT
}

std::string replaced(std::string_view old, std::string_view with, std::string_view in = document) {
  std::string text{in};
  return text.replace(text.find(old), old.size(), with);
}

TEST(xml_reader, reads_the_same_with_and_without_the_fast_path) {
  EXPECT_EQ(outcome_of(document, false), outcome_of(document, true));
  EXPECT_EQ(outcome_of(document, false).size(), document_output_size);
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
                                         "<!-- dmcache:",
                                         "<mappings>\n",
                                         "<hints>\n",
                                         "<![CDATA[",
                                         "]]>",
                                         ("    <mapping cache_block=\"1\" origin_block=\"9\" "
                                          "dirty=\"true\"/>\n")};
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random{seed};
  const auto below = [&](std::size_t limit) { return random() % limit; };
  for (int round = 0; round < 500; ++round) {
    std::string text{round % 2 == 0 ? document : commented};
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
        wrong_document{"AQAAAA==", "AQAAAB==",
                       "line 8, column 5: data=\"AQAAAB==\" is not the base64 of 4 bytes"},
        wrong_document{"AQAAAA==", "AQAAAA=A",
                       "line 8, column 5: data=\"AQAAAA=A\" is not the base64 of 4 bytes"},
        wrong_document{"AQAAAA==", "AQA=AA==",
                       "line 8, column 5: data=\"AQA=AA==\" is not the base64 of 4 bytes"},
        wrong_document{"AQAAAA==", "AQAA-A==",
                       "line 8, column 5: data=\"AQAA-A==\" is not the base64 of 4 bytes"},
        wrong_document{"hint_width=\"4\"", "hint_width=\"0\"",
                       "line 8, column 5: there are no hints where hint_width is 0"},
        wrong_document{"hint_width=\"4\"", "hint_width=\"8\"",
                       "line 1, column 1: superblock has hint size 8 bytes, where a hint has 4"},
        wrong_document{"dend=\"140\"", "dend=\"201\"",
                       "line 13, column 5: discard block 200 is beyond nr_blocks"},
        wrong_document{"origin_block=\"17\"", "origin_block=\"400\"",
                       "line 11, column 3: origin block 400 is mapped, and by these discard blocks "
                       "the origin has just 400 blocks"},
        wrong_document{"block_size=\"256\"", "block_size=\"0\"",
                       "line 11, column 3: discard blocks of no size, or none of them"},
        wrong_document{"nr_blocks=\"200\"", "nr_blocks=\"0\"",
                       "line 11, column 3: discard blocks of no size, or none of them"},
        wrong_document{"uuid=\"\"", "uuid=\"AAAA\"",
                       "line 1, column 1: uuid=\"AAAA\" is not the base64 of 16 bytes"},
        wrong_document{"policy=\"smq\"", "policy=\"policy-of-17-char\"",
                       "line 1, column 1: policy=\"policy-of-17-char\" is not up to 16 letters, "
                       "digits, '-' and '_'"},
        wrong_document{"nr_cache_blocks=\"300\"", "nr_cache_blocks=\"4294967296\"",
                       "line 1, column 1: nr_cache_blocks=\"4294967296\" is no whole number from 0 "
                       "to 4294967295"},
        wrong_document{"  <hints>", "  <mappings/><hints>",
                       "line 7, column 3: <mappings> a second time, or after a later section"},
        wrong_document{"</superblock>\n", "", "line 15, column 1: no element found"}));

TEST(xml_reader, reads_what_comments_say) {
  const auto contents = read_xml(
      text_of(commented), {.accept = [](const superblock &) { return xml_elements::fault{}; }});
  ASSERT_TRUE(contents) << contents.error().message;
  const superblock &block = (*contents)->described();
  EXPECT_EQ(block.policy_version, (std::array<le32, 3>{1, 2, 3}));
  EXPECT_EQ(block.read_hits, 7);
  EXPECT_EQ(block.discard_nr_blocks, 200);
  EXPECT_EQ((*contents)->discard_end(), 8);
}

TEST(xml_reader, takes_the_largest_number_and_the_longest_name_that_there_is_room_for) {
  const std::string text =
      replaced("\"smq\"", "\"policy-of-16-chr\"",
               replaced("read_hits=\"7\"", "read_hits=\"4294967295\"", commented));
  const auto contents =
      read_xml(text_of(text), {.accept = [](const superblock &) { return xml_elements::fault{}; }});
  ASSERT_TRUE(contents) << contents.error().message;
  EXPECT_EQ((*contents)->described().read_hits, 4294967295);
  EXPECT_EQ((*contents)->described().policy(), "policy-of-16-chr");
}

TEST(xml_reader, takes_every_byte_of_hints_and_uuids) {
  EXPECT_EQ(hint_from_base64("+/z9/g=="), le32{0xfefdfcfb});
  const std::string text = replaced("uuid=\"\"", "uuid=\"AQIDBAUGBwgJCgsMDQ4PEA==\"", commented);
  const auto contents =
      read_xml(text_of(text), {.accept = [](const superblock &) { return xml_elements::fault{}; }});
  ASSERT_TRUE(contents) << contents.error().message;
  const auto &uuid = (*contents)->described().uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    EXPECT_EQ(std::to_integer<std::size_t>(uuid[i]), i + 1);
  }
}

TEST(xml_reader, takes_the_hint_width_of_a_comment) {
  const std::string text = replaced("read_hits=\"7\"", "hint_width=\"0\"", commented);
  const auto contents =
      read_xml(text_of(text), {.accept = [](const superblock &) { return xml_elements::fault{}; }});
  ASSERT_TRUE(contents) << contents.error().message;
  EXPECT_EQ((*contents)->described().policy_hint_size, 0);
}

TEST(xml_reader, passes_over_the_comments_of_others) {
  for (const std::string_view comment :
       {"<!---->", "<!-- <discards/> -->", "<!-- a dmcache: -->"}) {
    EXPECT_EQ(outcome_of(replaced("  <mappings>", std::string{comment} + "  <mappings>"), false),
              outcome_of(document, false));
  }
}

class xml_reader_comment_errors : public testing::TestWithParam<wrong_document> {};

TEST_P(xml_reader_comment_errors, name_line_and_column) {
  const wrong_document &wrong = GetParam();
  EXPECT_EQ(outcome_of(replaced(wrong.what, wrong.with, commented), false), wrong.error);
}

INSTANTIATE_TEST_SUITE_P(
    each, xml_reader_comment_errors,
    testing::Values(
        wrong_document{"1.2.3", "1.2",
                       "line 2, column 17: policy_version=\"1.2\" is not like 2.0.0"},
        wrong_document{"policy_version=\"1.2.3\"", "hint_width=\"3\"",
                       "line 2, column 17: superblock has hint size 3 bytes, where a hint has 4"},
        wrong_document{"read_hits", "uuid",
                       "line 2, column 17: <superblock> with unknown attribute uuid"},
        wrong_document{"7\"/>", "7\">", "line 2, column 67: no element found"},
        wrong_document{"dend=\"8\"", "dend=\"201\"",
                       "line 10, column 5: discard block 200 is beyond nr_blocks"},
        wrong_document{"  <discards block", "  <mappings block",
                       "line 9, column 3: <mappings> is not expected in this comment"},
        wrong_document{"  -->\n</superblock>",
                       "  --><!-- dmcache: <discards block_size=\"256\" nr_blocks=\"201\"/> -->\n",
                       "line 12, column 20: <discards> a second time, and not as the first time"},
        wrong_document{"nr_blocks=\"200\"", "nr_blocks=\"8\"",
                       "line 9, column 3: origin block 17 is mapped, and by these discard blocks "
                       "the origin has just 16 blocks"}));

// A document that begins so, and goes on with the same character for ever.
read_text endless(std::string_view beginning, char more, std::uint64_t &nr_read) {
  return [=, &nr_read](std::span<char> into) mutable -> result<std::size_t> {
    const std::size_t count = beginning.copy(into.data(), into.size());
    std::ranges::fill(into.subspan(count), more);
    beginning.remove_prefix(count);
    nr_read += into.size();
    return into.size();
  };
}

TEST(xml_reader, reads_little_of_what_has_no_end) {
  for (const auto &[beginning, more] : {std::pair{"<superblock uuid=\"", 'A'},
                                        {"<", 'x'},
                                        {"<superblock ", ' '},
                                        {"<superblock", '\t'},
                                        {"<!-- ", ' '},
                                        {"<!-- dmcache:", ' '},
                                        {"<?x ", '?'},
                                        {"<superblock uuid='&#x", '0'},
                                        {"&", 'l'}}) {
    for (const bool only_expat : {false, true}) {
      std::uint64_t nr_read = 0;
      const auto refused =
          read_xml(endless(beginning, more, nr_read), {.accept = {}, .only_expat = only_expat});
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().kind, failure::failed);
      EXPECT_THAT(refused.error().message, testing::StartsWith("line 1, column 1: "));
      EXPECT_LE(nr_read, std::uint64_t{4} << 20) << beginning;
    }
  }
}

TEST(xml_reader, refuses_long_tags_and_comments_where_they_begin) {
  const std::string tag_begins = "<superblock uuid=\"\"";
  const std::string too_long = std::string(8 << 10, ' ');
  const auto with = [](std::string_view text, std::string_view by) {
    std::string changed{document};
    return changed.replace(changed.find(text), text.size(), by);
  };
  const auto refusal = [](std::uint64_t limit) {
    return fmt::format("more than {} bytes without an end, which no dump has", limit);
  };
  const std::string comment = "<!--" + std::string((1 << 20) - 6, ' ') + "-->";
  for (const bool only_expat : {false, true}) {
    EXPECT_EQ(outcome_of(with(tag_begins, tag_begins + too_long), only_expat),
              "line 1, column 1: " + refusal(8192));
    EXPECT_EQ(outcome_of(with("</mappings>", "</mappings" + too_long + ">"), only_expat),
              "line 6, column 3: " + refusal(8192));
    EXPECT_EQ(outcome_of(with("<mappings>", "<?x " + too_long + "?><mappings>"), only_expat),
              "line 2, column 3: " + refusal(8192));
    EXPECT_EQ(outcome_of(with("<mappings>", comment + "<mappings>"), only_expat),
              "line 2, column 3: " + refusal(1 << 20));
    EXPECT_EQ(outcome_of(with("<mappings>", "<mappings>" + too_long), only_expat),
              outcome_of(document, only_expat));
  }
}

TEST(xml_reader, refuses_document_types) {
  const std::string text = "<!DOCTYPE superblock [<!ENTITY a \"b\">]>\n" + std::string{document};
  EXPECT_NE(outcome_of(text, false).find("a document type declaration, which no dump has"),
            std::string::npos);
}

// Long enough for several buffers of the reader.
std::string long_document() {
  std::string text = "<superblock uuid=\"\" block_size=\"128\" nr_cache_blocks=\"40000\" "
                     "policy=\"smq\" hint_width=\"4\">\n  <mappings>\n";
  for (unsigned n = 0; n < 40000; ++n) {
    text += fmt::format("    <mapping cache_block=\"{}\" origin_block=\"{}\" dirty=\"{}\"/>\n", n,
                        n * 7, n % 3 == 0);
  }
  text += "  </mappings>\n  <hints>\n";
  for (unsigned n = 0; n < 40000; ++n) {
    text += fmt::format("    <hint cache_block=\"{}\" data=\"AQAAAA==\"/>\n", n);
  }
  return text + "  </hints>\n</superblock>\n";
}

TEST(xml_reader, agrees_with_expat_where_its_buffer_ends) {
  constexpr std::size_t buffer = std::size_t{1} << 20;
  const std::string whole = long_document();
  ASSERT_GT(whole.size(), 4 * buffer);
  EXPECT_EQ(outcome_of(whole, true).size(), document_output_size);
  EXPECT_EQ(outcome_of(whole, false), outcome_of(whole, true));
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random{seed};
  for (int round = 0; round < 6; ++round) {
    const std::size_t near = (1 + random() % 4) * buffer - 200 + random() % 400;
    std::string text = whole;
    if (round % 3 == 0) { // shifts what comes where, and changes nothing
      text.insert(text.find('\n'), std::string(random() % 100, ' '));
    } else if (round % 3 == 1) {
      text.insert(near, 1, " \n1\"<"[random() % 5]);
    } else {
      text.insert(text.rfind('\n', near) + 1, "<!-- -->");
    }
    ASSERT_EQ(outcome_of(text, false), outcome_of(text, true)) << near;
  }
}

} // namespace
} // namespace dmcache
