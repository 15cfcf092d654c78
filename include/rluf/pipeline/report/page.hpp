#pragma once
/// Building blocks of the report: text, tables and pictures as HTML. Pure but for plot(), which calls gnuplot.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace rluf {

std::string html_escaped(const std::string& text);

/// How a number is shown.
struct NumberStyle {
  double scale = 1;
  std::string suffix = "";  ///< " %" with a scale of 100
  bool sign = false;        ///< "+" before what is not negative: for differences
};
/// {"value", "low", "high"} as "0.63 [0.60, 0.66]" (and ", p = 0.01" where it has a p), plain numbers and text as they
/// are, null as "-".
std::string figure_text(const nlohmann::json& value, const NumberStyle& style = {});

/// Rows of cells under a head; cells are escaped.
std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);

/// A row of a table: what is read from each object, and what it is called.
struct Measure {
  std::string key, label;
  NumberStyle style = {};
};
/// One column an object, one row a measure that at least one object has: wide lists stay readable.
std::string measures_table(const std::vector<std::string>& heads, const nlohmann::json& objects,
                           const std::vector<Measure>& measures);

/// A curve or a set of points with intervals. @shape x, y (and low, high if not empty) [n]
struct Series {
  std::string title;
  std::vector<double> x, y, low, high;
};
enum class PictureKind { kLines, kPoints, kBars };
struct Picture {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  PictureKind kind = PictureKind::kLines;
  bool diagonal = false;                  ///< the line y = x, for reliability diagrams; both axes start at 0
  std::vector<std::string> x_names = {};  ///< names in place of numbers 0, 1, ... on the x axis
};
/// An inline SVG drawn by gnuplot, or a sentence of class "missing" that says why there is none.
std::string plot(const Picture& picture);
/// Pictures side by side, two in a row.
std::string picture_grid(const std::vector<Picture>& pictures);

/// Members `x` and `y` of every object that has both as numbers; `y` may be {"value", ...}.
Series series_of(const std::string& title, const nlohmann::json& rows, const std::string& x, const std::string& y);
/// Points with intervals, one for each object at 0, 1, ...; `key` holds {"value", "low", "high"}.
Series bars_of(const std::string& title, const nlohmann::json& rows, const std::string& key, double scale = 1);
/// Member "name" of every object.
std::vector<std::string> names_of(const nlohmann::json& rows);

}  // namespace rluf
