#include "rluf/config/option_table.hpp"

#include <algorithm>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <numeric>

#include "ini_file.hpp"
#include "option_value.hpp"
#include "rluf/core/error.hpp"

namespace rluf {
namespace {

namespace po = boost::program_options;

constexpr const char* kNameCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

[[noreturn]] void fail_unknown(const std::vector<OptionTable::Entry>& entries, const std::string& name,
                               const std::string& place) {
  std::vector<std::string> names, same_key;
  const std::string key = name.substr(name.rfind('.') + 1);
  for (const auto& entry : entries) {
    names.push_back(entry.name());
    if (entry.key == key) same_key.push_back(entry.name());
  }
  // A known key in the wrong section is likelier than a misspelt key of that section.
  const std::string near = same_key.empty() ? nearest_name(name, names) : same_key.front();
  fail_input(
      concat(place, "unknown option ", name), "a misspelt option would leave its default in force",
      near.empty() ? "see inputs/README.md or rluf options for all of them" : concat("did you mean ", near, "?"));
}

void apply(OptionTable::Entry& entry, const std::string& value, const std::string& origin) {
  const std::string place = origin == "command line" ? "" : origin + ": ";
  set_value(entry, expand_environment(value, entry.name(), place), place);
  entry.origin = origin;
  entry.written = value;
}

/// Whether the INI form of a value needs quotes.
bool needs_quotes(const std::string& text) {
  return text.find('#') != std::string::npos || (!text.empty() && (text.front() == ' ' || text.back() == ' '));
}

std::string table_cell(const std::string& text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? "\\|" : std::string(1, c);
  return cell;
}

}  // namespace

OptionTable& OptionTable::section(const std::string& name, const std::string& text) {
  for (const auto& known : sections_) RLUF_ASSERT(known.first != name);
  sections_.emplace_back(name, text);
  return *this;
}

OptionTable& OptionTable::add(const std::string& key, Target target, OptionText text) {
  RLUF_ASSERT(!sections_.empty());
  Entry entry{.section = sections_.back().first, .key = key, .target = target, .text = std::move(text)};
  RLUF_ASSERT(find(entry.name()) == nullptr);
  entry.default_value = value_text(entry);
  if (!entry.default_value.empty()) set_value(entry, entry.default_value, "default of ");
  entries_.push_back(std::move(entry));
  return *this;
}

void OptionTable::add_repeated(const Repeated& repeated, const std::string& name) {
  section(concat(repeated.kind, ".", name), repeated.text);
  repeated.describe(*this, name);
}

OptionTable::Entry* OptionTable::find(const std::string& name) {
  for (auto& entry : entries_)
    if (entry.name() == name) return &entry;
  return nullptr;
}

OptionTable::Entry& OptionTable::find_or_make(const std::string& name, const std::string& shown,
                                              const std::string& place) {
  if (Entry* entry = find(name)) return *entry;
  const std::string section = name.substr(0, name.rfind('.'));
  for (const Repeated& repeated : repeated_) {
    if (!section.starts_with(repeated.kind + ".")) continue;
    const std::string own = section.substr(repeated.kind.size() + 1);
    if (own.empty() || own.find_first_not_of(kNameCharacters) != std::string::npos)
      fail_input(concat(place, "the section [", section, "] is called \"", own, "\""),
                 "its name stands in tables, files and other options", "call it by letters, digits, _ and -");
    if (std::none_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.section == section; }))
      add_repeated(repeated, own);
    if (Entry* entry = find(name)) return *entry;
  }
  fail_unknown(entries_, shown, place);
}

void OptionTable::read(const std::vector<std::string>& ini_files, const std::vector<std::string>& settings) {
  for (const auto& path : ini_files)
    for (const IniSetting& setting : read_ini_file(path)) {
      const std::string origin = concat(path, ":", setting.line);
      apply(find_or_make(setting.name, setting.name, origin + ": "), setting.value, origin);
    }

  for (const auto& setting : settings) {
    const auto equals = setting.find('=');
    const std::string name = setting.substr(0, equals);
    Entry& entry = find_or_make(name, "--" + name, "");
    if (equals == std::string::npos)
      fail_input(concat("--", setting, " has no value"), entry.text.text, concat("write --", setting, "=VALUE"));
    std::string value = setting.substr(equals + 1);
    if (!value.empty()) {  // Boost knows no empty value on the command line
      // Neither guessing of abbreviations nor a value in the next word: FILE.ini after an option stays a file.
      const int style = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent;
      const std::vector<std::string> words{"--" + setting};
      po::options_description known;
      known.add_options()(name.c_str(), po::value<std::string>());
      const auto parsed = po::command_line_parser(words).options(known).style(style).run().options;
      RLUF_ASSERT(parsed.size() == 1 && parsed[0].string_key == name && parsed[0].value.size() == 1);
      value = parsed[0].value[0];
    }
    apply(entry, value, "command line");
  }
}

std::string OptionTable::print_ini() const {
  std::string text;
  for (const auto& [section, description] : sections_) {
    text += concat(text.empty() ? "" : "\n", "# ", description, "\n[", section, "]\n");
    for (const auto& entry : entries_) {
      if (entry.section != section) continue;
      const bool hidden = entry.text.secret && entry.written.find("${") != std::string::npos;
      const std::string value = hidden ? entry.written : value_text(entry);
      const bool required = value.empty() && !entry.text.allow_empty;
      text += concat(required ? "# " : "", entry.key, " =", value.empty() ? "" : " ",
                     needs_quotes(value) ? concat("\"", value, "\"") : value, "\n");
    }
  }
  return text;
}

std::string OptionTable::print_markdown() const {
  std::string text;
  for (const auto& [section, description] : sections_) {
    text += concat("\n## [", section, "]\n", description, "\n\n", "| key | default | unit | range | what it is |\n",
                   "| --- | --- | --- | --- | --- |\n");
    for (const auto& entry : entries_) {
      if (entry.section != section) continue;
      const std::string value = entry.default_value.empty() ? "(empty)" : concat("`", entry.default_value, "`");
      text += concat("| ", entry.key, " | ", table_cell(value), " | ", table_cell(entry.text.unit), " | ",
                     table_cell(range_text(entry)), " | ", table_cell(entry.text.text), " |\n");
    }
  }
  for (const Repeated& repeated : repeated_) {
    OptionTable example;
    example.section(repeated.kind + ".NAME", repeated.text);
    repeated.describe_example(example);
    text += example.print_markdown();
  }
  return text;
}

std::string kind_of_section(const std::string& section) { return section.substr(0, section.find('.')); }

std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates) {
  const bool dashes = word.rfind("--", 0) == 0;
  const std::string bare = dashes ? word.substr(2) : word;
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, bare.size() / 3) + 1;
  for (const auto& name : candidates) {
    const std::string candidate = name.rfind("--", 0) == 0 ? name.substr(2) : name;
    // An abbreviation is near although many letters are missing.
    const bool begins = bare.size() >= 2 && candidate.rfind(bare, 0) == 0;
    const std::size_t distance = begins ? 1 : edit_distance(bare, candidate);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = candidate;
  }
  return best.empty() || !dashes ? best : "--" + best;
}

}  // namespace rluf
