#include "ini_file.hpp"

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

namespace po = boost::program_options;

/// Boost's parser ends a value at any # and reports no lines. So each line is looked at first: what Boost would
/// misread is an error here, and a # or a space within quotes travels under another sign.
constexpr char kHiddenHash = '\x01', kHiddenSpace = '\x02';

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// A value without its comment and quotes, as Boost may read it.
std::string clean_value(const std::string& text, const std::string& place) {
  if (!text.empty() && text[0] == '"') {
    const auto close = text.find('"', 1);
    if (close == std::string::npos)
      fail_input(concat(place, "a quote is not closed"), "the end of the value is unclear", "add the closing \"");
    const std::string rest = trimmed(text.substr(close + 1));
    if (!rest.empty() && rest[0] != '#')
      fail_input(concat(place, "text follows the closing quote: ", rest), "the end of the value is unclear",
                 "put the whole value in one pair of quotes");
    std::string value = text.substr(1, close - 1);
    for (char& c : value) c = c == '#' ? kHiddenHash : c == ' ' ? kHiddenSpace : c;
    return value;
  }
  const auto hash = text.find('#');
  if (hash == std::string::npos) return text;
  if (hash > 0 && text[hash - 1] != ' ' && text[hash - 1] != '\t')
    fail_input(concat(place, "a # stands inside the value ", text), "it is unclear whether a comment starts there",
               "put the value in double quotes if the # belongs to it, or a space before the # of a comment");
  return trimmed(text.substr(0, hash));
}

[[noreturn]] void fail_line(const std::string& line, const std::string& previous, const std::string& place) {
  std::string remedy = "write [section], key = value or # comment";
  if (line[0] == ';' || line.rfind("//", 0) == 0) remedy = "comments start with #";
  if (!previous.empty() && previous.back() == '\\')
    remedy = "lines are not continued by \\: write the value on one line";
  fail_input(concat(place, "cannot read the line: ", line.substr(0, 80)), "it would be ignored", remedy);
}

}  // namespace

std::vector<IniSetting> read_ini_file(const std::string& path) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    fail_input(concat("cannot read the input file ", path), "its options are needed",
               "check the path and its rights; settings on the command line look like --section.key=value");
  std::vector<IniSetting> settings;
  std::map<std::string, long> line_of;
  std::string line, previous, section, for_boost;
  for (long number = 1; std::getline(file, line); ++number) {
    const std::string place = concat(path, ":", number, ": ");
    if (number == 1 && line.rfind("\xEF\xBB\xBF", 0) == 0) line.erase(0, 3);
    if (line.find('\0') != std::string::npos || line.find_first_of("\x01\x02") != std::string::npos)
      fail_input(concat(place, "not a text file"), "it holds control characters", "give an INI file");
    line = trimmed(line);
    const std::string before = std::exchange(previous, line);
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      const auto close = line.find(']');
      const std::string rest = close == std::string::npos ? "" : trimmed(line.substr(close + 1));
      if (close == std::string::npos || (!rest.empty() && rest[0] != '#')) fail_line(line, before, place);
      section = trimmed(line.substr(1, close - 1));
      if (section.find('#') != std::string::npos) fail_line(line, before, place);  // Boost would end the line there
      for_boost += concat("[", section, "]\n");
      continue;
    }
    const auto equals = line.find('=');
    if (line[0] == ';' || equals == std::string::npos) fail_line(line, before, place);
    const std::string key = trimmed(line.substr(0, equals));
    if (key.find('#') != std::string::npos || key.empty()) fail_line(line, before, place);
    const std::string name = section.empty() ? key : concat(section, ".", key);
    if (const auto [earlier, is_new] = line_of.emplace(name, number); !is_new)
      fail_input(concat(place, name, " was already given in line ", earlier->second),
                 "it is unclear which of the two is meant", "remove one");
    for_boost += concat(key, "=", clean_value(trimmed(line.substr(equals + 1)), place), "\n");
    settings.push_back({name, "", number});
  }
  if (file.bad()) fail_input(concat("cannot read the input file ", path), "the disk failed", "try again");

  std::istringstream stream(for_boost);
  const po::options_description none;
  const auto options = po::parse_config_file(stream, none, /*allow_unregistered=*/true).options;
  RLUF_ASSERT(options.size() == settings.size());
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i].string_key != settings[i].name)  // [run.] with "seed", for example
      fail_input(
          concat(path, ":", settings[i].line, ": the name ", settings[i].name, " is read as ", options[i].string_key),
          "it is unclear which option is meant", "write [section] and key = value with plain names");
    settings[i].value = options[i].value.empty() ? "" : options[i].value[0];
    for (char& c : settings[i].value) c = c == kHiddenHash ? '#' : c == kHiddenSpace ? ' ' : c;
  }
  return settings;
}

}  // namespace rluf
