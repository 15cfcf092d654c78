// The building blocks of report.html.
#include "rluf/pipeline/report/page.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

using Json = nlohmann::json;

TEST(Figure, ShowsIntervalsUnitsAndSigns) {
  EXPECT_EQ(figure_text(Json()), "-");
  EXPECT_EQ(figure_text(Json("text")), "text");
  EXPECT_EQ(figure_text(Json(1234567)), "1234567");
  EXPECT_EQ(figure_text(Json(0.25)), "0.25");
  EXPECT_EQ(figure_text(Json(18550000.4)), "18550000");
  EXPECT_EQ(figure_text({{"value", 0.5}, {"low", 0.25}, {"high", 0.75}}), "0.5 [0.25, 0.75]");
  EXPECT_EQ(figure_text({{"value", 0.5}}, {.scale = 100, .suffix = " %", .sign = true}), "+50 %");
  EXPECT_EQ(figure_text({{"value", -0.5}, {"low", -1}, {"high", 0}, {"p", 0.04}},
                        {.scale = 100, .suffix = " %", .sign = true}),
            "-50 [-100, +0] %, p = 0.04");
  EXPECT_EQ(figure_text({{"value", nullptr}, {"reason", "one class"}}), "undefined: one class");
}

TEST(Table, TurnsObjectsIntoColumns) {
  const Json objects{{{"a", 1}, {"b", {{"value", 0.5}}}}, {{"a", 2}}};
  const std::string html = measures_table(
      {"x<", "y"}, objects, {{"a", "rows & more"}, {"b", "share", {.scale = 100, .suffix = " %"}}, {"c", "nowhere"}});
  EXPECT_NE(html.find("<tr><th></th><th>x&lt;</th><th>y</th></tr>"), std::string::npos) << html;
  EXPECT_NE(html.find("<tr><td>rows &amp; more</td><td>1</td><td>2</td></tr>"), std::string::npos) << html;
  EXPECT_NE(html.find("<tr><td>share</td><td>50 %</td><td></td></tr>"), std::string::npos) << html;
  EXPECT_EQ(html.find("nowhere"), std::string::npos) << html;
}

TEST(Series, TakeWhatIsThere) {
  const Json rows{{{"x", 1}, {"y", {{"value", 2.0}, {"low", 1.0}, {"high", 3.0}}}},
                  {{"x", 2}, {"y", {{"value", nullptr}}}},
                  {{"x", 3}, {"y", 4.0}}};
  const Series curve = series_of("curve", rows, "x", "y");
  EXPECT_EQ(curve.x, (std::vector<double>{1, 3}));
  EXPECT_EQ(curve.y, (std::vector<double>{2, 4}));
  const Series bars = bars_of("bars", rows, "y", 100);
  EXPECT_EQ(bars.x, (std::vector<double>{0}));
  EXPECT_EQ(bars.low, (std::vector<double>{100}));
}

TEST(Plot, DrawsEveryKindOrSaysWhyNot) {
  const Series points{
      .title = "a \"quoted\" `name`", .x = {0, 1, 2}, .y = {1, 3, 2}, .low = {0.5, 2, 1}, .high = {2, 4, 3}};
  Series curve = points;
  curve.low = curve.high = {};
  for (const PictureKind kind : {PictureKind::kLines, PictureKind::kPoints, PictureKind::kBars}) {
    const std::string svg =
        plot({.title = "<title>", .series = {points}, .kind = kind, .x_names = {"one_a", "two", "three"}});
    EXPECT_EQ(svg.find("class=\"missing\""), std::string::npos) << svg;
    EXPECT_NE(svg.find("<svg"), std::string::npos);
    EXPECT_EQ(svg.find("<?xml"), std::string::npos);
  }
  EXPECT_NE(plot({.title = "curve", .series = {curve}}).find("<svg"), std::string::npos);
  EXPECT_NE(
      plot({.title = "diagonal", .series = {points}, .kind = PictureKind::kPoints, .diagonal = true}).find("<svg"),
      std::string::npos);
  // A key that no table has makes an empty series, which must show.
  EXPECT_NE(plot({.title = "empty", .series = {Series{.title = "none"}}}).find("class=\"missing\""), std::string::npos);
  EXPECT_NE(plot({.title = "none", .series = {}}).find("class=\"missing\""), std::string::npos);
}

}  // namespace
}  // namespace rluf
