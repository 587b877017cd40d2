// What can be set of sift, and what the origin's times make of it.
#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/whole_number.h"
#include "caching/policy/sift.h"

namespace dmcache {
namespace {

constexpr std::uint32_t max_measured_touches = 16;
constexpr std::uint64_t longest_clean_after = 86400; // a day
constexpr double largest_budget = 1e9;

template <typename Number>
std::optional<Number> number_between(std::string_view text, Number least, Number most) {
  const auto number = whole_number<Number>(text);
  return number && *number >= least && *number <= most ? number : std::nullopt;
}

std::unexpected<error> wrong(std::string_view key, std::string_view value,
                             std::string_view allowed) {
  return fail(failure::usage, fmt::format("{} is {}, not '{}'", key, allowed, value));
}

} // namespace

// A copy pays if it spares as many reads as it takes the time of.
void sift::measured(const origin_read_times &times) {
  const double misses = static_cast<double>(times.block.count()) /
                        static_cast<double>(std::max<std::int64_t>(1, times.miss.count()));
  measured_touches_ =
      static_cast<std::uint32_t>(std::clamp(std::round(misses), 1.0, double{max_measured_touches}));
}

result<> sift::set(std::string_view key, std::string_view value) {
  if (key == "read_touches" || key == "write_touches") {
    const auto touches = number_between<std::uint32_t>(value, 1, touch_tally::max_count);
    const bool is_of_reads = key == "read_touches";
    const bool is_automatic = is_of_reads && value == "auto";
    if (!touches && !is_automatic) {
      return wrong(key, value, is_of_reads ? "auto or 1 to 31" : "1 to 31");
    }
    if (is_of_reads) {
      read_touches_ = touches;
    } else {
      write_touches_ = *touches;
    }
    return {};
  }
  if (key == "fill_budget") {
    const auto per_second = number_between<double>(value, 0, largest_budget);
    if (!per_second) {
      return wrong(key, value, "a number of promotions a second, or 0 for any");
    }
    budget_.limit_to(*per_second);
    return {};
  }
  if (key == "clean_after") {
    const auto seconds = number_between<std::uint64_t>(value, 1, longest_clean_after);
    if (!seconds) {
      return wrong(key, value, "1 to 86400 seconds");
    }
    clean_after_ = *seconds;
    return {};
  }
  return fail(failure::usage, fmt::format("policy sift has no setting '{}': it takes read_touches, "
                                          "write_touches, fill_budget and clean_after",
                                          key));
}

std::vector<policy::setting> sift::settings() const {
  return {{"read_touches", read_touches_ ? fmt::format("{}", *read_touches_) : "auto"},
          {"write_touches", fmt::format("{}", write_touches_)},
          {"fill_budget", fmt::format("{}", budget_.per_second())},
          {"clean_after", fmt::format("{}", clean_after_)}};
}

} // namespace dmcache
