#pragma once
/// Building blocks of the report: text, tables and pictures as HTML. Pure but for plot(), which calls gnuplot.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace rluf {

std::string html_escaped(const std::string& text);
/// {"value", "low", "high"} as "0.63 [0.60, 0.66]", plain numbers and text as they are, null as "-".
std::string figure_text(const nlohmann::json& value);
/// Rows of cells under a head; cells are escaped.
std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);

/// A curve or a set of points with intervals. @shape x, y (and low, high if not empty) [n]
struct Series {
  std::string title;
  std::vector<double> x, y, low, high;
};
struct Picture {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool lines = true;                      ///< else points
  bool diagonal = false;                  ///< the line y = x, for reliability diagrams
  std::vector<std::string> x_names = {};  ///< names in place of numbers 0, 1, ... on the x axis
};
/// An inline SVG drawn by gnuplot, or a sentence that says why there is none.
std::string plot(const Picture& picture);

}  // namespace rluf
