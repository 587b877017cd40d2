// What a benchmark says.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace dmcache {

inline double median(std::vector<double> of) {
  const auto middle = of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2);
  std::ranges::nth_element(of, middle);
  return *middle;
}

// Prints a figure and its bar. The value says whether the bar is met.
inline bool report(std::string_view name, double figure, std::string_view unit, double bar,
                   bool at_least = false) {
  const bool is_met = at_least ? figure >= bar : figure <= bar;
  fmt::print("{:<44} {:8.2f} {:<12} (bar {} {}){}\n", name, figure, unit,
             at_least ? ">=" : "<=", bar, is_met ? "" : "  MISSED");
  std::fflush(stdout);
  return is_met;
}

} // namespace dmcache
