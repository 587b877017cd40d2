#include "base/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string_view>

#include <fmt/format.h>

namespace dmcache {
namespace {

// All lengths are in pixels.
constexpr double plot_width = 640;
constexpr double plot_height = 300;
constexpr double character_width = 7; // of a font of 12 pixels, on average and a little more
constexpr double title_height = 44;
constexpr double x_labels_height = 50;
constexpr double y_title_width = 36;
constexpr double gap = 8;
constexpr double legend_gap = 24;
constexpr double legend_row = 20;
constexpr double sample_width = 34; // of a line, in the legend
constexpr double margin = 12;
constexpr double end_label_room = 30; // half of a label that stands below the plot's right end

constexpr double most_steps = 6;         // of an axis, before it is extended to round numbers
constexpr double most_fine_decades = 3;  // more have a tick at each power of ten only
constexpr double most_decade_ticks = 10; // more have one at some of them
constexpr double largest = 1e100;        // beyond which differences and steps would overflow
constexpr std::size_t most_marked = 40;  // a line of more points is dense enough without marks

// Colours that people with any kind of colour vision tell apart. The dashes tell lines apart in
// black and white, and where there are more lines than colours.
constexpr std::array<std::string_view, 7> colours{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                  "#000000", "#e69f00", "#56b4e9"};
constexpr std::array<std::string_view, 4> dashes{"none", "7 3", "2 3", "9 3 2 3"};

using point = std::pair<double, double>;

// How many bytes the UTF-8 character at the beginning of `text` has; 0 if it is none.
std::size_t length_of_character(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const std::size_t length = byte(0) < 0x80    ? 1
                             : byte(0) < 0xc2  ? 0
                             : byte(0) < 0xe0  ? 2
                             : byte(0) < 0xf0  ? 3
                             : byte(0) <= 0xf4 ? 4
                                               : 0;
  if (length > text.size()) {
    return 0;
  }
  std::uint32_t code = length < 2 ? byte(0) : byte(0) & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) {
      return 0;
    }
    code = code << 6U | (byte(i) & 0x3fU);
  }
  const bool is_overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool is_surrogate = code >= 0xd800 && code < 0xe000;
  const bool is_no_text = code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xfffe ||
                          code == 0xffff || code > 0x10ffff;
  return is_overlong || is_surrogate || is_no_text ? 0 : length;
}

struct shown_text {
  std::string escaped;
  std::size_t nr_characters = 0;
};

shown_text as_shown(std::string_view text) {
  shown_text shown;
  for (; !text.empty(); ++shown.nr_characters) {
    const std::size_t length = length_of_character(text);
    switch (length == 0 ? '?' : text.front()) {
    case '&':
      shown.escaped += "&amp;";
      break;
    case '<':
      shown.escaped += "&lt;";
      break;
    case '>':
      shown.escaped += "&gt;";
      break;
    default:
      shown.escaped += length == 0 ? "?" : text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return shown;
}

double width_of(std::string_view text) {
  return character_width * static_cast<double>(as_shown(text).nr_characters);
}

std::string label_of(double value) {
  return fmt::format("{:.10g}", value);
}

struct axis {
  double low;
  double high;
  bool is_logarithmic;
  std::vector<double> ticks; // round numbers; those of a linear axis include both ends

  // How far along the axis a value is: 0 is its beginning, 1 its end.
  double share(double value) const {
    return is_logarithmic ? std::log(value / low) / std::log(high / low)
                          : (value - low) / (high - low);
  }
};

// The smallest of 1, 2, 5, 10, 20, 50, ... that is at least so large.
double round_up(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double factor : {1., 2., 5.}) {
    if (factor * power >= value * (1 - 1e-9)) {
      return factor * power;
    }
  }
  return 10 * power;
}

// The largest that is at most so large.
double round_down(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double factor : {5., 2.}) {
    if (factor * power <= value * (1 + 1e-9)) {
      return factor * power;
    }
  }
  return power;
}

axis linear_axis(double lowest, double highest) {
  // Values that lie closer together than numbers can be told apart would give a step of nothing.
  const double closest = std::max(std::abs(lowest), std::abs(highest)) * 1e-9;
  if (highest - lowest <= closest) {
    const double around = closest == 0 ? 0.5 : closest * 1e8;
    lowest -= around;
    highest += around;
  }
  const double step = round_up((highest - lowest) / most_steps);
  const double first = std::floor(lowest / step + 1e-9);
  const double last = std::ceil(highest / step - 1e-9);
  axis made{first * step, last * step, false, {}};
  for (double each = first; each <= last; ++each) {
    made.ticks.push_back(each * step);
  }
  return made;
}

axis logarithmic_axis(double lowest, double highest) {
  axis made{round_down(lowest), round_up(highest), true, {}};
  if (made.low >= made.high) {
    made.low = round_down(made.low * 0.9);
    made.high = round_up(made.high * 1.1);
  }
  const double decades = std::log10(made.high / made.low);
  if (decades <= most_fine_decades) {
    for (double each = made.low; each <= made.high * (1 + 1e-9); each = round_up(each * 1.1)) {
      made.ticks.push_back(each);
    }
    return made;
  }
  const double step = std::ceil(decades / most_decade_ticks);
  for (double power = std::ceil(std::log10(made.low) - 1e-9); power <= std::log10(made.high) + 1e-9;
       power += step) {
    made.ticks.push_back(std::pow(10, power));
  }
  return made;
}

// A chart whose axes are known: how large it will be, and what it looks like.
class drawing {
 public:
  explicit drawing(const chart &drawn);

  double width() const { return plot_left_ + plot_width + std::max(end_label_room, legend_width_); }
  double height() const { return height_; }
  // The elements, for a picture whose origin is the upper left corner of the chart.
  std::string elements() const;

 private:
  bool can_show(const point &each) const;
  void draw_grid(std::string &text) const;
  void draw_titles(std::string &text) const;
  void draw_line(std::string &text, std::size_t index) const;
  void draw_legend(std::string &text, std::size_t index) const;

  double x_of(double value) const { return plot_left_ + x_.share(value) * plot_width; }
  double y_of(double value) const { return title_height + (1 - y_.share(value)) * plot_height; }

  const chart &chart_;
  std::vector<std::vector<point>> shown_; // the points of each line
  axis x_{0, 1, false, {}};
  axis y_{0, 1, false, {}};
  double plot_left_ = 0;
  double legend_width_ = 0;
  double height_ = 0;
};

drawing::drawing(const chart &drawn) : chart_{drawn} {
  double least_x = std::numeric_limits<double>::infinity();
  double most_x = -least_x;
  double least_y = 0;
  double most_y = 0;
  for (const chart_line &line : chart_.lines) {
    std::vector<point> &points = shown_.emplace_back();
    std::ranges::copy_if(line.points, std::back_inserter(points),
                         [&](const point &each) { return can_show(each); });
    for (const auto &[x, y] : points) {
      least_x = std::min(least_x, x);
      most_x = std::max(most_x, x);
      least_y = std::min(least_y, y);
      most_y = std::max(most_y, y);
    }
    legend_width_ = std::max(legend_width_, legend_gap + sample_width + gap + width_of(line.name));
  }
  if (least_x > most_x) { // there are no points
    least_x = 1;
    most_x = 10;
  }
  x_ = chart_.is_x_logarithmic ? logarithmic_axis(least_x, most_x) : linear_axis(least_x, most_x);
  y_ = most_y == least_y ? linear_axis(0, 1) : linear_axis(least_y, most_y);
  double label_width = 0;
  for (const double each : y_.ticks) {
    label_width = std::max(label_width, width_of(label_of(each)));
  }
  plot_left_ = y_title_width + label_width + gap;
  const double legend_height = legend_row * static_cast<double>(chart_.lines.size());
  height_ = title_height + std::max(plot_height, legend_height) + x_labels_height;
}

bool drawing::can_show(const point &each) const {
  const auto &[x, y] = each;
  return std::abs(x) <= largest && std::abs(y) <= largest && // which NaN isn't either
         (!chart_.is_x_logarithmic || x >= 1 / largest);
}

std::string drawing::elements() const {
  std::string text;
  draw_grid(text);
  draw_titles(text);
  for (std::size_t i = 0; i < shown_.size(); ++i) {
    draw_line(text, i);
    draw_legend(text, i);
  }
  return text;
}

void drawing::draw_grid(std::string &text) const {
  const double bottom = title_height + plot_height;
  const double right = plot_left_ + plot_width;
  for (const double each : x_.ticks) {
    text += fmt::format("<path class=\"grid\" d=\"M{0:.1f} {1}V{2}\"/>\n"
                        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
                        x_of(each), title_height, bottom, bottom + 18, label_of(each));
  }
  for (const double each : y_.ticks) {
    text += fmt::format("<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/>\n"
                        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
                        plot_left_, y_of(each), right, plot_left_ - gap, y_of(each) + 4,
                        label_of(each));
  }
  text += fmt::format("<path class=\"axis\" d=\"M{} {}V{}H{}\"/>\n", plot_left_, title_height,
                      bottom, right);
}

void drawing::draw_titles(std::string &text) const {
  text += fmt::format("<text class=\"title\" x=\"{}\" y=\"26\">{}</text>\n", plot_left_,
                      as_shown(chart_.title).escaped);
  text += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                      plot_left_ + plot_width / 2, title_height + plot_height + 38,
                      as_shown(chart_.x_title).escaped);
  text += fmt::format("<text transform=\"translate(22 {}) rotate(-90)\" "
                      "text-anchor=\"middle\">{}</text>\n",
                      title_height + plot_height / 2, as_shown(chart_.y_title).escaped);
}

std::string_view colour_of(std::size_t index) {
  return colours[index % colours.size()];
}

std::string style_of(std::size_t index) {
  return fmt::format("class=\"line\" stroke=\"{}\" stroke-dasharray=\"{}\"", colour_of(index),
                     dashes[index % dashes.size()]);
}

void drawing::draw_line(std::string &text, std::size_t index) const {
  const std::vector<point> &points = shown_[index];
  text += fmt::format("<polyline {} points=\"", style_of(index));
  for (const auto &[x, y] : points) {
    text += fmt::format("{:.1f},{:.1f} ", x_of(x), y_of(y));
  }
  text += "\"/>\n";
  if (points.size() > most_marked) {
    return;
  }
  for (const auto &[x, y] : points) {
    text += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x_of(x),
                        y_of(y), colour_of(index));
  }
}

void drawing::draw_legend(std::string &text, std::size_t index) const {
  const double left = plot_left_ + plot_width + legend_gap;
  const double middle = title_height + legend_row * (static_cast<double>(index) + 0.5);
  text += fmt::format("<path {} d=\"M{} {}H{}\"/>\n", style_of(index), left, middle,
                      left + sample_width);
  text += fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", left + sample_width + gap, middle + 4,
                      as_shown(chart_.lines[index].name).escaped);
}

} // namespace

std::string svg_of(std::span<const chart> charts) {
  double width = 0;
  double height = 0;
  std::string drawn;
  for (const chart &each : charts) {
    const drawing one{each};
    drawn += fmt::format("<g transform=\"translate({} {})\">\n{}</g>\n", margin, margin + height,
                         one.elements());
    width = std::max(width, one.width());
    height += one.height();
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"12\" "
      "fill=\"#222222\">\n"
      "<style>.grid {{ stroke: #dddddd; }} .axis {{ stroke: #222222; fill: none; }} "
      ".line {{ stroke-width: 2; stroke-linejoin: round; fill: none; }} "
      ".title {{ font-size: 15px; font-weight: bold; }}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{2}</svg>\n",
      width + 2 * margin, height + 2 * margin, drawn);
}

} // namespace dmcache
