#include "rluf/pipeline/report/page.hpp"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// gnuplot's quoting: text in double quotes with no way out.
std::string quoted(const std::string& text) {
  std::string safe = "\"";
  for (const char c : text)
    if (c != '"' && c != '\\' && c != '`' && c != '\n') safe += c == '_' ? ' ' : c;
  return safe + "\"";
}

std::string script_of(const Picture& picture, const std::string& output) {
  std::ostringstream script;
  script << "set terminal svg size 640,360 background '#ffffff' font 'sans,12'\nset output '" << output << "'\n";
  script << "set title " << quoted(picture.title) << "\nset xlabel " << quoted(picture.x_label) << "\nset ylabel "
         << quoted(picture.y_label) << "\n";
  script << "set grid\nset key outside right\n";
  if (!picture.x_names.empty()) {
    script << "set xrange [-0.5:" << static_cast<double>(picture.x_names.size()) - 0.5
           << "]\nset xtics rotate by -30 (";
    for (std::size_t i = 0; i < picture.x_names.size(); ++i)
      script << (i ? ", " : "") << quoted(picture.x_names[i]) << ' ' << i;
    script << ")\n";
  }
  for (std::size_t s = 0; s < picture.series.size(); ++s) {
    const Series& series = picture.series[s];
    script << "$data" << s << " << EOD\n";
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!std::isfinite(series.y[i])) continue;
      script << series.x[i] << ' ' << series.y[i];
      if (!series.low.empty()) script << ' ' << series.low[i] << ' ' << series.high[i];
      script << '\n';
    }
    script << "EOD\n";
  }
  script << "plot ";
  for (std::size_t s = 0; s < picture.series.size(); ++s) {
    const Series& series = picture.series[s];
    script << (s ? ", " : "") << "$data" << s
           << (series.low.empty() ? (picture.lines ? " using 1:2 with lines lw 2" : " using 1:2 with points pt 7")
                                  : " using 1:2:3:4 with yerrorbars pt 7 lw 2")
           << " title " << quoted(series.title);
  }
  if (picture.diagonal) script << ", x with lines dashtype 2 lc rgb '#888888' title \"perfect\"";
  script << "\n";
  return script.str();
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string figure_text(const nlohmann::json& value) {
  if (value.is_null()) return "-";
  if (value.is_number_float()) return number_text(value.get<double>());
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("value")) {
    if (value["value"].is_null()) return "undefined: " + value.value("reason", "no reason given");
    std::string text = number_text(value["value"].get<double>());
    if (value.contains("low") && value["low"].is_number() && value["high"].is_number())
      text +=
          concat(" [", number_text(value["low"].get<double>()), ", ", number_text(value["high"].get<double>()), "]");
    if (value.contains("p") && value["p"].is_number()) text += ", p = " + number_text(value["p"].get<double>());
    return text;
  }
  return value.dump();
}

std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::string html = "<table><tr>";
  for (const auto& cell : head) html += "<th>" + html_escaped(cell) + "</th>";
  html += "</tr>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (const auto& cell : row) html += "<td>" + html_escaped(cell) + "</td>";
    html += "</tr>\n";
  }
  return html + "</table>\n";
}

std::string plot(const Picture& picture) {
  if (picture.series.empty())
    return "<p class=\"missing\">no data for the picture: " + html_escaped(picture.title) + "</p>\n";
  std::string folder = (std::filesystem::temp_directory_path() / "rluf_plot_XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr)
    return "<p class=\"missing\">no picture: the temporary folder cannot be written</p>\n";
  const std::string script = folder + "/plot.gp", output = folder + "/plot.svg";
  std::ofstream(script) << script_of(picture, output);
  const int status = std::system(concat("gnuplot '", script, "' >/dev/null 2>&1").c_str());
  std::ifstream file(output);
  std::stringstream svg;
  svg << file.rdbuf();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  std::string text = svg.str();
  const std::size_t start = text.find("<svg");
  if (status != 0 || start == std::string::npos)
    return "<p class=\"missing\">no picture of " + html_escaped(picture.title) +
           ": gnuplot is not installed or failed; the numbers stand in the tables</p>\n";
  return "<figure>" + text.substr(start) + "</figure>\n";
}

}  // namespace rluf
