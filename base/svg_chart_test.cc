#include "base/svg_chart.h"

#include <array>
#include <cstddef>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr double infinite = std::numeric_limits<double>::infinity();
constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

std::string picture_of(const chart &drawn) {
  return svg_of({&drawn, 1});
}

chart with_points(std::vector<std::pair<double, double>> points, bool is_x_logarithmic = false) {
  return {"t", "x", "y", is_x_logarithmic, {{"l", std::move(points)}}};
}

// What stands between each `begin` and the `end` after it.
std::vector<std::string> parts(std::string_view text, std::string_view begin,
                               std::string_view end) {
  std::vector<std::string> found;
  while (text.find(begin) != std::string_view::npos) {
    text.remove_prefix(text.find(begin) + begin.size());
    found.emplace_back(text.substr(0, text.find(end)));
  }
  return found;
}

std::size_t nr_marks(const std::string &picture) {
  return parts(picture, "<circle ", "/>").size();
}

// The labels of the x axis, without its title.
std::vector<std::string> x_labels(const std::string &picture) {
  std::vector<std::string> found = parts(picture, "text-anchor=\"middle\">", "</text>");
  found.resize(found.size() - 2);
  return found;
}

std::vector<std::string> y_labels(const std::string &picture) {
  return parts(picture, "text-anchor=\"end\">", "</text>");
}

TEST(svg_chart, ticks_are_round_numbers_around_all_points) {
  const std::string picture = picture_of(with_points({{3, 0.42}, {47, 0.11}}));
  EXPECT_THAT(x_labels(picture), ElementsAre("0", "10", "20", "30", "40", "50"));
  EXPECT_THAT(y_labels(picture), ElementsAre("0", "0.1", "0.2", "0.3", "0.4", "0.5"));
}

TEST(svg_chart, the_y_axis_begins_below_zero_where_points_do) {
  const std::string picture = picture_of(with_points({{0, -3}, {1, 1}}));
  EXPECT_THAT(y_labels(picture), ElementsAre("-3", "-2", "-1", "0", "1"));
}

TEST(svg_chart, a_logarithmic_axis_has_1_2_and_5_or_powers_of_ten) {
  EXPECT_THAT(x_labels(picture_of(with_points({{3, 1}, {40, 1}}, true))),
              ElementsAre("2", "5", "10", "20", "50"));
  EXPECT_THAT(x_labels(picture_of(with_points({{0.5, 1}, {20000, 1}}, true))),
              ElementsAre("1", "10", "100", "1000", "10000"));
}

TEST(svg_chart, points_stand_where_the_axes_say) {
  const auto positions =
      parts(picture_of(with_points({{0, 0}, {5, 5}, {10, 10}})), "points=\"", "\"");
  const auto logarithmic =
      parts(picture_of(with_points({{1, 0}, {10, 5}, {100, 10}}, true)), "points=\"", "\"");
  EXPECT_THAT(positions, ElementsAre("58.0,344.0 378.0,194.0 698.0,44.0 "));
  EXPECT_EQ(positions, logarithmic);
}

TEST(svg_chart, points_that_cannot_be_shown_are_left_out) {
  const std::vector<std::pair<double, double>> points{
      {1, 1}, {no_number, 1}, {1, infinite}, {-infinite, 1}, {1, 1e300}, {0, 1}, {-1, 1}, {2, 1}};
  EXPECT_EQ(nr_marks(picture_of(with_points(points))), 4);
  EXPECT_EQ(nr_marks(picture_of(with_points(points, true))), 2);
}

TEST(svg_chart, all_numbers_in_it_are_numbers_whatever_the_points_are) {
  for (const bool is_x_logarithmic : {false, true}) {
    for (const auto &points :
         std::vector<std::vector<std::pair<double, double>>>{{},
                                                             {{0, 0}},
                                                             {{7, 0}},
                                                             {{1, 7}},
                                                             {{1e15, 1}, {1e15 + 0.25, 2}},
                                                             {{1e-90, 1e-90}, {1e90, 1e90}},
                                                             {{-1e90, -1e90}, {1e90, 1e90}}}) {
      const std::string picture = picture_of(with_points(points, is_x_logarithmic));
      EXPECT_THAT(picture, Not(HasSubstr("nan")));
      EXPECT_THAT(picture, Not(HasSubstr("inf")));
      for (const std::vector<std::string> &labels : {x_labels(picture), y_labels(picture)}) {
        EXPECT_GE(labels.size(), 2);
        EXPECT_LE(labels.size(), 12);
        EXPECT_EQ(std::set(labels.begin(), labels.end()).size(), labels.size());
      }
    }
  }
}

TEST(svg_chart, texts_are_escaped) {
  chart named = with_points({{1, 1}});
  named.title = "a<b & c>d";
  named.lines[0].name = "\xc3\xa9\xff\n\x7f\xed\xa0\x80";
  const std::string picture = picture_of(named);
  EXPECT_THAT(picture, HasSubstr(">a&lt;b &amp; c&gt;d<"));
  EXPECT_THAT(picture, HasSubstr(">\xc3\xa9" + std::string(6, '?') + "<"));
}

TEST(svg_chart, each_line_looks_different) {
  chart many{"t", "x", "y", false, {}};
  for (int i = 0; i < 20; ++i) {
    many.lines.push_back({std::to_string(i), {{0, i}, {1, i}}});
  }
  const auto styles = parts(picture_of(many), "<polyline ", " points");
  EXPECT_EQ(std::set(styles.begin(), styles.end()).size(), 20);
}

TEST(svg_chart, a_dense_line_has_no_marks) {
  std::vector<std::pair<double, double>> points;
  for (int i = 0; i < 1000; ++i) {
    points.emplace_back(i, i);
  }
  EXPECT_EQ(nr_marks(picture_of(with_points(points))), 0);
}

TEST(svg_chart, charts_stand_one_below_another_and_the_picture_has_room_for_all) {
  const std::array one{with_points({{0, 1}, {1, 1}})};
  const std::array two{one[0], one[0]};
  EXPECT_THAT(svg_of(one), HasSubstr("height=\"418\""));
  EXPECT_THAT(svg_of(two), HasSubstr("height=\"812\""));
  EXPECT_THAT(parts(svg_of(two), "<g transform=\"", "\""),
              ElementsAre("translate(12 12)", "translate(12 406)"));
}

TEST(svg_chart, a_long_legend_makes_the_picture_larger) {
  chart many = with_points({{0, 1}, {1, 1}});
  const auto width = parts(picture_of(many), "width=\"", "\"").front();
  many.lines.resize(30);
  many.lines.back().name = "a name of very many letters";
  EXPECT_GT(std::stoi(parts(picture_of(many), "width=\"", "\"").front()), std::stoi(width));
  EXPECT_THAT(picture_of(many), HasSubstr("height=\"718\""));
}

} // namespace
} // namespace dmcache
