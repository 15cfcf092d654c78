#include "rluf/config/option_table.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <fstream>
#include <map>
#include <sstream>

#include "option_values.hpp"
#include "rluf/core/error.hpp"

namespace rluf {
namespace {

namespace po = boost::program_options;

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

/// What Boost's INI parser would pass over in silence, and the line of every key, which it does not tell.
/// @return "section.key" -> line
std::map<std::string, int> check_lines(const std::string& path, const std::string& content) {
  std::map<std::string, int> lines;
  std::istringstream stream(content);
  std::string line, section;
  for (int number = 1; std::getline(stream, line); ++number) {
    const std::string where = concat(path, ":", number);
    const std::size_t comment = line.find('#');
    if (comment != std::string::npos && comment > 0 && line[comment - 1] != ' ' && line[comment - 1] != '\t')
      fail_input(concat(where, ": a # stands inside a value"), "the rest of the line would be taken as a comment",
                 "put a space before a comment; a # cannot be part of a value");
    const std::string text = trimmed(line.substr(0, comment));
    if (text.empty()) continue;
    if (text[0] == ';') fail_input(concat(where, ": a line starts with ;"), "comments start with #", "write # instead");
    if (text[0] == '[') {
      if (text.back() != ']' || text.size() < 3)
        fail_input(concat(where, ": broken section header ", text), "its keys would belong nowhere", "write [name]");
      section = trimmed(text.substr(1, text.size() - 2)) + ".";
      continue;
    }
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos)
      fail_input(concat(where, ": \"", text, "\" is no setting"), "a line is key = value",
                 "add the = or remove the line");
    const std::string key = section + trimmed(text.substr(0, equals));
    const auto [found, is_new] = lines.emplace(key, number);
    if (!is_new)
      fail_input(concat(where, ": ", key, " stands in line ", found->second, " already"),
                 "one of the two would be ignored", "remove one");
  }
  return lines;
}

}  // namespace

OptionTable& OptionTable::section(const std::string& name, const std::string& text) {
  sections_.emplace_back(name, text);
  return *this;
}

OptionTable& OptionTable::add(const std::string& key, Target target, OptionText text) {
  RLUF_ASSERT(!sections_.empty());
  Entry entry{.section = sections_.back().first, .key = key, .target = target, .text = std::move(text)};
  entry.default_value = value_text(entry);
  entries_.push_back(std::move(entry));
  return *this;
}

void OptionTable::read(const std::vector<std::string>& ini_files, const std::vector<std::string>& settings) {
  std::vector<std::string> names;
  po::options_description known;
  for (const Entry& entry : entries_) {
    names.push_back(entry.name());
    known.add_options()(entry.name().c_str(), po::value<std::string>());
  }
  const auto set = [&](const std::string& name, const std::string& value, const std::string& where) {
    const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.name() == name; });
    if (entry == entries_.end()) {
      const std::string nearest = nearest_name(name, names);
      fail_input(concat(where, ": unknown option ", name), "it would have no effect",
                 nearest.empty() ? "see rluf options for all names" : concat("did you mean ", nearest, "?"));
    }
    assign_value(*entry, value, where);
  };
  for (const std::string& path : ini_files) {
    std::ifstream file(path);
    std::stringstream content;
    content << file.rdbuf();
    if (!file.is_open() || file.bad())
      fail_input(concat("cannot open the input file ", path), "it is missing or may not be read", "check the path");
    const auto lines = check_lines(path, content.str());
    std::istringstream stream(content.str());
    // Unknown names are let through here so that the message can name their line and the nearest name.
    for (const auto& option : po::parse_config_file(stream, known, true).options)
      set(option.string_key, option.value.empty() ? "" : option.value.front(),
          concat(path, ":", lines.at(option.string_key)));
  }
  std::map<std::string, std::string> seen;
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    const std::string name = setting.substr(0, equals);
    if (equals == std::string::npos) {
      fail_input(concat("command line: --", setting, " has no value"), "options are --section.key=value",
                 "add = and the value");
    }
    if (!seen.emplace(name, setting).second)
      fail_input(concat("command line: --", name, " is given twice"), "one of the two would be ignored", "remove one");
    set(name, setting.substr(equals + 1), "command line");
  }
}

std::string OptionTable::print_ini() const {
  std::string text;
  for (const auto& [section, comment] : sections_) {
    text += concat(text.empty() ? "" : "\n", "[", section, "]\n");
    for (const Entry& entry : entries_) {
      if (entry.section != section) continue;
      const std::string value = value_text(entry);
      // An empty value that may not be written stays out: reading the file back gives the default, which is empty too.
      if (!value.empty() || entry.text.allow_empty) text += concat(entry.key, " = ", value, "\n");
    }
  }
  return text;
}

std::string OptionTable::print_markdown() const {
  std::string text =
      "# Parameters\n\nGenerated by `rluf options`. An input file holds `[section]` headers and `key = value` lines; "
      "the command line takes\n"
      "`--section.key=value` and overrides files, later files override earlier ones. `#` starts a comment, `${NAME}` "
      "is replaced from the\n"
      "environment, lists are separated by commas or spaces, booleans are `true` and `false`.\n";
  for (const auto& [section, comment] : sections_) {
    text += concat("\n## [", section, "]\n\n", comment,
                   "\n\n| key | default | unit | allowed | meaning |\n|---|---|---|---|---|\n");
    for (const Entry& entry : entries_)
      if (entry.section == section)
        text += concat("| ", entry.key, " | ", entry.default_value.empty() ? "" : "`" + entry.default_value + "`",
                       " | ", entry.text.unit, " | ", allowed_text(entry.text), " | ", entry.text.text, " |\n");
  }
  return text;
}

}  // namespace rluf
