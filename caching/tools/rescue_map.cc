#include "caching/tools/rescue_map.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr char rescued = '+';
constexpr char bad = '-';
constexpr char untried = '?';
constexpr std::string_view statuses = "?*/-+";

// As C writes it: 0x1f, 037, or 31.
std::optional<std::uint64_t> c_number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text.front() == '0') {
    base = 8;
    text.remove_prefix(1);
  }
  std::uint64_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  const bool is_whole = failed == std::errc{} && end == text.data() + text.size();
  return is_whole ? std::optional{number} : std::nullopt;
}

struct listed_part {
  std::uint64_t begin;
  std::uint64_t end;
  char status;
};

// A line "POSITION SIZE STATUS".
std::optional<listed_part> part_of(const std::string &line) {
  std::istringstream words{line};
  std::string position;
  std::string size;
  std::string status;
  std::string more;
  words >> position >> size >> status;
  const auto begin = c_number(position);
  const auto length = c_number(size);
  std::uint64_t end = 0;
  if (!begin || !length || status.size() != 1 || !statuses.contains(status.front()) ||
      words >> more || __builtin_add_overflow(*begin, *length, &end)) {
    return {};
  }
  return listed_part{*begin, end, status.front()};
}

} // namespace

void rescue_map::add(bytes begin, bytes end, bool is_rescued) {
  if (!parts_.empty() && parts_.back().end == begin.value() &&
      parts_.back().is_rescued == is_rescued) {
    parts_.back().end = end.value();
  } else if (begin < end) {
    parts_.push_back({begin.value(), end.value(), is_rescued});
  }
}

bool rescue_map::is_rescued(bytes begin, bytes end) const {
  const auto after = std::ranges::upper_bound(parts_, begin.value(), {}, &part::begin);
  if (after == parts_.begin()) {
    return false;
  }
  const part &at = *std::prev(after);
  return at.is_rescued && end.value() <= at.end;
}

std::string rescue_map::text() const {
  std::string lines = "# Mapfile, as ddrescue has it\n# current_pos  status  pass\n0x00000000     "
                      "+       1\n#      pos        size  status\n";
  std::uint64_t end = 0;
  const auto add_line = [&](std::uint64_t begin, std::uint64_t part_end, char status) {
    if (begin < part_end) {
      lines += fmt::format("{:#010x}  {:#010x}  {}\n", begin, part_end - begin, status);
    }
  };
  for (const part &each : parts_) {
    add_line(end, each.begin, untried);
    add_line(each.begin, each.end, each.is_rescued ? rescued : bad);
    end = each.end;
  }
  return lines;
}

result<rescue_map> read_rescue_map(const std::string &path) {
  std::ifstream file{path};
  if (!file) {
    return fail(failure::environment,
                fmt::format("cannot open {}: {}", path,
                            std::error_code{errno, std::generic_category()}.message()));
  }
  rescue_map map;
  std::array<char, 256> buffer{};
  std::uint64_t end = 0;
  bool has_state = false; // the first line that counts says where ddrescue was
  for (std::uint64_t number = 1; file.getline(buffer.data(), buffer.size()) || !file.eof();
       ++number) {
    const std::string line{buffer.data()};
    const bool is_comment = line.find_first_not_of(" \t\r") == std::string::npos ||
                            line.find_first_not_of(" \t") == line.find('#');
    if (file && is_comment) {
      continue;
    }
    if (file && !has_state) {
      has_state = true;
      continue;
    }
    const auto listed = file ? part_of(line) : std::nullopt;
    if (!listed || listed->begin < end) {
      return fail(failure::usage,
                  fmt::format("{}, line {}: 'POSITION SIZE STATUS' is expected, ascending: is "
                              "this a map file of ddrescue?",
                              path, number));
    }
    map.add(bytes{listed->begin}, bytes{listed->end}, listed->status == rescued);
    end = listed->end;
  }
  if (end == 0) {
    return fail(failure::usage,
                fmt::format("{} has no parts: is this a map file of ddrescue?", path));
  }
  return map;
}

} // namespace dmcache
