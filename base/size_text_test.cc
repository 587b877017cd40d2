#include "base/size_text.h"

#include <string>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

constexpr auto in_sectors = bare_number::is_in_sectors;
constexpr auto refused = bare_number::is_refused;

struct unit_case {
  std::string written;
  std::uint64_t in_bytes;
};

TEST(size_text, units_are_binary_in_either_case) {
  const std::string letters = "kmgtpe";
  std::uint64_t size = 1;
  for (const char small : letters) {
    const char capital = static_cast<char>(small - 'a' + 'A');
    size <<= 10U;
    for (const std::string &unit :
         {std::string{small}, std::string{capital}, capital + std::string{"iB"},
          small + std::string{"ib"}, capital + std::string{"IB"}}) {
      EXPECT_EQ(parse_size("3" + unit, refused).value(), bytes{3 * size}) << unit;
      EXPECT_EQ(parse_size("3.00" + unit, in_sectors).value(), bytes{3 * size}) << unit;
      EXPECT_EQ(parse_size("3.00 " + unit, refused).value(), bytes{3 * size}) << unit;
      EXPECT_EQ(parse_size("0.5" + unit, refused).value(), bytes{size / 2}) << unit;
    }
  }
}

TEST(size_text, bytes_and_sectors_have_units) {
  for (const char *const unit : {"b", "B", "byte", "bytes", " bytes"}) {
    EXPECT_EQ(parse_size(std::string{"512"} + unit, refused).value(), bytes{512}) << unit;
  }
  for (const char *const unit : {"s", "S", "sector", "sectors", " sectors"}) {
    EXPECT_EQ(parse_size(std::string{"512"} + unit, refused).value(), bytes{262144}) << unit;
  }
}

TEST(size_text, names_are_those_of_thin_provisioning_tools) {
  for (const auto &[name, size] :
       {unit_case{"kibibyte", std::uint64_t{1} << 10},
        unit_case{"mebibyte", std::uint64_t{1} << 20},
        unit_case{"gibibyte", std::uint64_t{1} << 30},
        unit_case{"tebibyte", std::uint64_t{1} << 40},
        unit_case{"pebibyte", std::uint64_t{1} << 50},
        unit_case{"exbibyte", std::uint64_t{1} << 60}, unit_case{"kilobyte", 1'000},
        unit_case{"megabyte", 1'000'000}, unit_case{"gigabyte", 1'000'000'000},
        unit_case{"terabyte", 1'000'000'000'000}, unit_case{"petabyte", 1'000'000'000'000'000},
        unit_case{"exabyte", 1'000'000'000'000'000'000}}) {
    EXPECT_EQ(parse_size("2" + name, refused).value(), bytes{2 * size}) << name;
    EXPECT_EQ(parse_size("2 " + name + "s", refused).value(), bytes{2 * size}) << name;
  }
}

TEST(size_text, a_bare_number_is_in_sectors_or_refused) {
  EXPECT_EQ(parse_size("128", in_sectors).value(), bytes{65536});
  EXPECT_EQ(parse_size("0", in_sectors).value(), bytes{0});
  for (const std::string text : {"65536", "0", "1.5"}) {
    EXPECT_THAT(parse_size(text, refused),
                fails_with(failure::usage, "'" + text + "' has no unit: write " + text +
                                               "s for sectors of 512 bytes, " + text +
                                               "b for bytes, or one of k, m, g, as in 64k"));
  }
}

TEST(size_text, fractions_must_be_whole_bytes) {
  EXPECT_EQ(parse_size("1.5g", refused).value(), bytes{std::uint64_t{3} << 29});
  EXPECT_EQ(parse_size("0.0009765625k", refused).value(), bytes{1});
  EXPECT_EQ(parse_size("0.25s", refused).value(), bytes{128});
  EXPECT_EQ(parse_size("7.000000000000000000000000000b", refused).value(), bytes{7});
  EXPECT_EQ(parse_size("1.0000000000000000001 e", refused).has_value(), false);
  for (const char *const text : {"0.1k", "1.5b", "0.001s", "64.01k", "0.00000000000000000001e"}) {
    EXPECT_THAT(
        parse_size(text, refused),
        fails_with(failure::usage, "'" + std::string{text} + "' is no whole number of bytes"));
  }
}

TEST(size_text, refuses_what_means_different_sizes_to_different_programs) {
  EXPECT_THAT(parse_size("64kB", refused),
              fails_with(failure::usage,
                         "'64kB' means different sizes to different programs: write "
                         "k, or kiB, for multiples of 1024"));
  for (const char *const text : {"1kb", "1KB", "1Mb", "1GB", "1tb", "1PB", "1eb"}) {
    EXPECT_THAT(parse_size(text, in_sectors), fails_with(failure::usage)) << text;
  }
}

TEST(size_text, refuses_what_is_no_size) {
  for (const char *const text :
       {"",       "k",    "-1k",  "+1k",  "64q",      "1 ",     " 1k",    "1  k",
        "0x10k",  "1.k",  ".5k",  "1,5k", "<1.0g",    "1e3",    "1kk",    "1ik",
        "1kib/s", "1bib", "1sib", "1k ",  "1.2.3k",   "1_000k", "1'000k", "1\tk",
        "1kibi",  "k1",   "1bb",  "1sb",  "1 byte s", "one"}) {
    EXPECT_THAT(parse_size(text, in_sectors), fails_with(failure::usage)) << text;
    EXPECT_THAT(parse_size(text, refused), fails_with(failure::usage)) << text;
  }
  EXPECT_THAT(parse_size("64q", refused),
              fails_with(failure::usage, "'64q' is no size: give a number with a unit, as in 64k, "
                                         "1.5GiB or 128s, which is in sectors"));
}

TEST(size_text, refuses_what_overflows) {
  EXPECT_THAT(parse_size("16e", refused), fails_with(failure::usage, "'16e' is too large a size"));
  EXPECT_EQ(parse_size("15.5e", refused).value(), bytes{std::uint64_t{31} << 59});
  EXPECT_EQ(parse_size("18446744073709551615b", refused).value(), bytes{18446744073709551615U});
  EXPECT_THAT(parse_size("18446744073709551616b", refused), fails_with(failure::usage));
  EXPECT_EQ(parse_size("18014398509481983.5k", refused).value(), bytes{18446744073709551104U});
  EXPECT_THAT(parse_size("18014398509481984k", refused), fails_with(failure::usage));
  EXPECT_THAT(parse_size("36028797018963968", in_sectors), fails_with(failure::usage));
}

TEST(size_text, sectors_are_whole) {
  EXPECT_EQ(parse_sectors("--size", "1.5k", refused).value(), sectors{3});
  EXPECT_EQ(parse_sectors("--size", "7", in_sectors).value(), sectors{7});
  EXPECT_THAT(
      parse_sectors("--size", "100b", refused),
      fails_with(failure::usage, "--size: '100b' is no whole number of sectors of 512 bytes"));
  EXPECT_THAT(parse_sectors("--size", "16e", refused),
              fails_with(failure::usage, "--size: '16e' is too large a size"));
}

TEST(size_text, a_size_is_told_in_decimal_units_by_capitals) {
  EXPECT_EQ(find_unit_to_tell("k")->in_bytes, 1024);
  EXPECT_EQ(find_unit_to_tell("K")->in_bytes, 1000);
  EXPECT_EQ(find_unit_to_tell("MiB")->name, "mebibyte");
  EXPECT_EQ(find_unit_to_tell("mib")->name, "mebibyte");
  EXPECT_EQ(find_unit_to_tell("gigabytes")->letter, 'G');
  EXPECT_EQ(find_unit_to_tell("B"), nullptr);
  EXPECT_EQ(find_unit_to_tell("MB"), nullptr);
  EXPECT_EQ(find_unit_to_tell(""), nullptr);
}

} // namespace
} // namespace dmcache
