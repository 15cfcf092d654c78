#include "rluf/pipeline/report/page.hpp"

#include <unistd.h>

#include <algorithm>
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

std::string number_text(double value, int digits = 4) {
  char text[64];
  if (std::abs(value) >= 1000) {  // whole numbers, no powers of ten
    std::snprintf(text, sizeof text, "%.0f", value);
  } else {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
  }
  return text;
}

/// gnuplot's quoting: text in double quotes with no way out.
std::string quoted(const std::string& text) {
  std::string safe = "\"";
  for (const char c : text)
    if (c != '"' && c != '\\' && c != '`' && c != '\n') safe += c == '_' ? ' ' : c;
  return safe + "\"";
}

const char* style_of(const Picture& picture, const Series& series) {
  const bool intervals = !series.low.empty();
  if (picture.kind == PictureKind::kBars) return " using 1:2:3:4:(0.6) with boxerrorbars lw 1.5";
  if (intervals) return " using 1:2:3:4 with yerrorbars pt 7 ps 0.7 lw 1.5";
  return picture.kind == PictureKind::kPoints ? " using 1:2 with points pt 7"
                                              : " using 1:2 with linespoints lw 2 pt 7 ps 0.4";
}

std::string script_of(const Picture& picture, const std::string& output) {
  std::ostringstream script;
  script << "set terminal svg size 490,310 background '#ffffff' font 'sans,11'\nset output '" << output << "'\n";
  script << "set style fill solid 0.35 border -1\nset boxwidth 0.6\n";
  if (picture.diagonal) script << "set xrange [0:*]\n";
  if (picture.diagonal || picture.kind == PictureKind::kBars) script << "set yrange [0:*]\n";
  script << "set title " << quoted(picture.title) << "\nset xlabel " << quoted(picture.x_label) << "\nset ylabel "
         << quoted(picture.y_label) << "\n";
  script << "set grid\nset key below\n";
  if (!picture.x_label.empty()) script << "set bmargin 5.5\n";
  if (!picture.x_names.empty()) {
    script << "set xrange [-0.5:" << static_cast<double>(picture.x_names.size()) - 0.5
           << "]\nset xtics rotate by -25 (";
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
    script << (s ? ", " : "") << "$data" << s << style_of(picture, series) << " title " << quoted(series.title);
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

std::string figure_text(const nlohmann::json& value, const NumberStyle& style) {
  const auto number = [&](const nlohmann::json& json) {
    const double scaled = style.scale * json.get<double>();
    const std::string text = number_text(scaled, value.is_object() ? 3 : 4);  // an interval tells how many digits count
    return style.sign && scaled >= 0 ? concat("+", text) : text;
  };
  if (value.is_null()) return "-";
  if (value.is_number_float()) return number(value) + style.suffix;
  if (value.is_number() && style.scale != 1) return number(value) + style.suffix;
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("value")) {
    if (value["value"].is_null()) {
      const std::string reason = value.value("reason", "no reason given");
      return reason.starts_with("undefined") ? reason : concat("undefined: ", reason);
    }
    std::string text = number(value["value"]);
    if (value.contains("low") && value["low"].is_number() && value["high"].is_number())
      text += concat(" [", number(value["low"]), ", ", number(value["high"]), "]");
    text += style.suffix;
    if (value.contains("p") && value["p"].is_number()) text += ", p = " + number_text(value["p"].get<double>(), 2);
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

std::string measures_table(const std::vector<std::string>& heads, const nlohmann::json& objects,
                           const std::vector<Measure>& measures) {
  std::vector<std::string> head{""};
  head.insert(head.end(), heads.begin(), heads.end());
  std::vector<std::vector<std::string>> rows;
  for (const Measure& measure : measures) {
    std::vector<std::string> cells{measure.label};
    bool any = false;
    for (const auto& object : objects) {
      any = any || object.contains(measure.key);
      cells.push_back(object.contains(measure.key) ? figure_text(object[measure.key], measure.style) : "");
    }
    if (any) rows.push_back(cells);
  }
  return html_table(head, rows);
}

Series series_of(const std::string& title, const nlohmann::json& rows, const std::string& x, const std::string& y) {
  Series series{.title = title};
  const auto number = [](const nlohmann::json& row, const std::string& key) -> const nlohmann::json* {
    if (!row.contains(key)) return nullptr;
    const nlohmann::json& member = row[key];
    if (member.is_number()) return &member;
    return member.is_object() && member.contains("value") && member["value"].is_number() ? &member["value"] : nullptr;
  };
  for (const auto& row : rows) {
    const auto *at = number(row, x), *value = number(row, y);
    if (at == nullptr || value == nullptr) continue;
    series.x.push_back(at->get<double>());
    series.y.push_back(value->get<double>());
  }
  return series;
}

Series bars_of(const std::string& title, const nlohmann::json& rows, const std::string& key, double scale) {
  Series series{.title = title};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].contains(key) || !rows[i][key].is_object() || !rows[i][key]["value"].is_number()) continue;
    const nlohmann::json& figure = rows[i][key];
    const double value = figure["value"].get<double>();
    series.x.push_back(static_cast<double>(i));
    series.y.push_back(scale * value);
    series.low.push_back(scale * figure.value("low", value));
    series.high.push_back(scale * figure.value("high", value));
  }
  return series;
}

std::vector<std::string> names_of(const nlohmann::json& rows) {
  std::vector<std::string> names;
  for (const auto& row : rows) names.push_back(row.value("name", "?"));
  return names;
}

std::string picture_grid(const std::vector<Picture>& pictures) {
  std::string html = "<div class=\"grid\">\n";
  for (const Picture& picture : pictures) html += plot(picture);
  return html + "</div>\n";
}

std::string plot(const Picture& picture) {
  if (std::all_of(picture.series.begin(), picture.series.end(), [](const Series& s) { return s.x.empty(); }))
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
