// Line charts as one SVG picture, which needs nothing besides itself: a browser shows it.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace dmcache {

struct chart_line {
  std::string name;
  std::vector<std::pair<double, double>> points; // x, y; in the order in which they are joined
};

// All texts are shown as they are; what is no UTF-8 or no printable character in them, as '?'. Axis
// titles name the unit. A point that can't be shown is left out: one that isn't finite, or whose x
// isn't above zero on a logarithmic axis. The y axis begins at zero, or below it if a point does.
struct chart {
  std::string title;
  std::string x_title;
  std::string y_title;
  bool is_x_logarithmic = false;
  std::vector<chart_line> lines; // in the order of the legend
};

// The text of the picture: the charts one below another, with axes, grid and legend. The lines at
// one place of each legend look the same in all charts.
std::string svg_of(std::span<const chart> charts);

} // namespace dmcache
