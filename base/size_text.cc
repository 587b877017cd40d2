#include "base/size_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>
#include <string>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::array units{
    size_unit{'b', "byte", 1},
    size_unit{'s', "sector", sector_size},
    size_unit{'k', "kibibyte", std::uint64_t{1} << 10},
    size_unit{'m', "mebibyte", std::uint64_t{1} << 20},
    size_unit{'g', "gibibyte", std::uint64_t{1} << 30},
    size_unit{'t', "tebibyte", std::uint64_t{1} << 40},
    size_unit{'p', "pebibyte", std::uint64_t{1} << 50},
    size_unit{'e', "exbibyte", std::uint64_t{1} << 60},
    size_unit{'K', "kilobyte", 1'000},
    size_unit{'M', "megabyte", 1'000'000},
    size_unit{'G', "gigabyte", 1'000'000'000},
    size_unit{'T', "terabyte", 1'000'000'000'000},
    size_unit{'P', "petabyte", 1'000'000'000'000'000},
    size_unit{'E', "exabyte", 1'000'000'000'000'000'000},
};
constexpr std::string_view binary_letters = "kmgtpe";

std::string in_small_letters(std::string_view text) {
  std::string small{text};
  std::ranges::transform(small, small.begin(), [](char each) {
    return each >= 'A' && each <= 'Z' ? static_cast<char>(each - 'A' + 'a') : each;
  });
  return small;
}

const size_unit *find_letter(char letter) {
  const auto *found = std::ranges::find(units, letter, &size_unit::letter);
  return found == units.end() ? nullptr : found;
}

// "k", "KiB", "kibibyte", "kibibytes".
const size_unit *find_unit_read(std::string_view text) {
  const std::string small = in_small_letters(text);
  if (small.size() == 1 ||
      (small.size() == 3 && small.ends_with("ib") && binary_letters.contains(small.front()))) {
    return find_letter(small.front());
  }
  const auto *found = std::ranges::find_if(units, [&](const size_unit &each) {
    return small == each.name || small == fmt::format("{}s", each.name);
  });
  return found == units.end() ? nullptr : found;
}

bool is_kilobyte_to_some(std::string_view unit) {
  const std::string small = in_small_letters(unit);
  return small.size() == 2 && small.ends_with('b') && binary_letters.contains(small.front());
}

bool is_digit(char each) {
  return each >= '0' && each <= '9';
}

// A number such as "64.25", and what follows it.
struct written_size {
  std::string_view whole;
  std::string_view fraction; // without zeroes at its end
  std::string_view unit;
};

std::optional<written_size> take_apart(std::string_view text) {
  const auto take_digits = [&] {
    const auto end = std::ranges::find_if_not(text, is_digit);
    const auto digits = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    text.remove_prefix(digits.size());
    return digits;
  };
  written_size found;
  found.whole = take_digits();
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    found.fraction = take_digits();
    if (found.fraction.empty()) {
      return {};
    }
    found.fraction = found.fraction.substr(0, found.fraction.find_last_not_of('0') + 1);
  }
  if (text.starts_with(' ')) {
    text.remove_prefix(1);
    if (text.empty()) {
      return {};
    }
  }
  found.unit = text;
  return found.whole.empty() ? std::nullopt : std::optional{found};
}

// None if it has too many digits.
std::optional<std::uint64_t> number_of(std::string_view digits) {
  std::uint64_t number = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return read.ec == std::errc{} ? std::optional{number} : std::nullopt;
}

// This fraction of a unit, if it is a whole number of bytes.
std::optional<std::uint64_t> fraction_of(std::uint64_t unit, std::string_view digits) {
  constexpr std::size_t most_digits = std::numeric_limits<std::uint64_t>::digits10;
  if (digits.empty() || digits.size() > most_digits) {
    return digits.empty() ? std::optional{std::uint64_t{0}} : std::nullopt;
  }
  std::uint64_t divisor = 1;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    divisor *= 10;
  }
  const std::uint64_t common = std::gcd(unit, divisor);
  const std::uint64_t number = number_of(digits).value();
  return number % (divisor / common) == 0
             ? std::optional{number / (divisor / common) * (unit / common)}
             : std::nullopt;
}

std::unexpected<error> wrong(std::string why) {
  return fail(failure::usage, std::move(why));
}

} // namespace

const size_unit *find_unit_to_tell(std::string_view text) {
  return text.size() == 1 ? find_letter(text.front()) : find_unit_read(text);
}

result<bytes> parse_size(std::string_view text, bare_number bare) {
  const auto written = take_apart(text);
  if (written && written->unit.empty() && bare == bare_number::is_refused) {
    return wrong(fmt::format("'{0}' has no unit: write {0}s for sectors of 512 bytes, {0}b for "
                             "bytes, or one of k, m, g, as in 64k",
                             text));
  }
  const std::string_view unit_text = written && written->unit.empty() ? "s"
                                     : written                        ? written->unit
                                                                      : "";
  if (is_kilobyte_to_some(unit_text)) {
    return wrong(fmt::format("'{}' means different sizes to different programs: write {}, or {}iB, "
                             "for multiples of 1024",
                             text, unit_text.front(), unit_text.front()));
  }
  const size_unit *unit = find_unit_read(unit_text);
  if (!written || unit == nullptr) {
    return wrong(fmt::format("'{}' is no size: give a number with a unit, as in 64k, 1.5GiB or "
                             "128s, which is in sectors",
                             text));
  }
  const auto fraction = fraction_of(unit->in_bytes, written->fraction);
  if (!fraction) {
    return wrong(fmt::format("'{}' is no whole number of bytes", text));
  }
  const auto whole = number_of(written->whole);
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  if (!whole || *whole > (most - *fraction) / unit->in_bytes) {
    return wrong(fmt::format("'{}' is too large a size", text));
  }
  return bytes{*whole * unit->in_bytes + *fraction};
}

result<sectors> parse_sectors(std::string_view name, std::string_view text, bare_number bare) {
  const auto size = parse_size(text, bare);
  if (!size) {
    return wrong(fmt::format("{}: {}", name, size.error().message));
  }
  if (size->value() % sector_size != 0) {
    return wrong(fmt::format("{}: '{}' is no whole number of sectors of 512 bytes", name, text));
  }
  return sectors{size->value() / sector_size};
}

} // namespace dmcache
