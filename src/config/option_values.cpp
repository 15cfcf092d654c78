// Values of options: from text, to text, and their checks.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "option_values.hpp"
#include "rluf/core/error.hpp"

namespace rluf {
namespace {

[[noreturn]] void fail_value(const OptionTable::Entry& entry, const std::string& text, const std::string& where,
                             const std::string& want) {
  fail_input(concat(where, ": ", entry.name(), " = ", text), want, concat("see rluf options for ", entry.name()));
}

std::string range_text(const OptionText& text) {
  const auto number = [](double value) { return concat(value); };
  if (std::isfinite(text.low) && std::isfinite(text.high))
    return concat("from ", number(text.low), " to ", number(text.high));
  if (std::isfinite(text.low)) return concat("at least ", number(text.low));
  if (std::isfinite(text.high)) return concat("at most ", number(text.high));
  return "any";
}

void check_range(const OptionTable::Entry& entry, double value, const std::string& text, const std::string& where) {
  if (value < entry.text.low || value > entry.text.high)
    fail_value(entry, text, where, concat("it must be ", range_text(entry.text)));
}

double parse_double(const OptionTable::Entry& entry, const std::string& text, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    fail_value(entry, text, where, "it must be a number");
  check_range(entry, value, text, where);
  return value;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> items(1);
  for (const char c : text) {
    if (c == ',' || c == ' ' || c == '\t') {
      if (!items.back().empty()) items.emplace_back();
    } else {
      items.back() += c;
    }
  }
  if (items.back().empty()) items.pop_back();
  return items;
}

struct Assign {
  const OptionTable::Entry& entry;
  const std::string& text;
  const std::string& where;

  void operator()(bool* target) const {
    if (text != "true" && text != "false") fail_value(entry, text, where, "it must be true or false");
    *target = text == "true";
  }
  void operator()(std::int64_t* target) const {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail_value(entry, text, where, "it must be a whole number, digits only");
    check_range(entry, static_cast<double>(value), text, where);
    *target = value;
  }
  void operator()(double* target) const { *target = parse_double(entry, text, where); }
  void operator()(std::string* target) const {
    const auto& choices = entry.text.choices;
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      std::string list;
      for (const auto& choice : choices) list += (list.empty() ? "" : ", ") + choice;
      fail_value(entry, text, where, "it must be one of " + list);
    }
    *target = text;
  }
  void operator()(std::vector<double>* target) const {
    std::vector<double> values;
    for (const auto& item : split_list(text)) values.push_back(parse_double(entry, item, where));
    *target = values;
  }
  void operator()(std::vector<std::string>* target) const { *target = split_list(text); }
};

std::string number_text(double value) {
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return error == std::errc() ? std::string(buffer, end) : concat(value);
}

struct Print {
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const double* value) const { return number_text(*value); }
  std::string operator()(const std::string* value) const { return *value; }
  std::string operator()(const std::vector<double>* values) const {
    std::string text;
    for (const double value : *values) text += (text.empty() ? "" : ", ") + number_text(value);
    return text;
  }
  std::string operator()(const std::vector<std::string>* values) const {
    std::string text;
    for (const auto& value : *values) text += (text.empty() ? "" : ", ") + value;
    return text;
  }
};

}  // namespace

std::string expand_variables(const std::string& text, const std::string& where) {
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = text.compare(i, 2, "${") == 0 ? text.find('}', i) : std::string::npos;
    if (end == std::string::npos) {
      result += text[i++];
      continue;
    }
    const std::string name = text.substr(i + 2, end - i - 2);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr)
      fail_input(concat(where, ": the environment variable ", name, " is not set"), "the value would be incomplete",
                 "set it or write the value");
    result += value;
    i = end + 1;
  }
  return result;
}

void assign_value(OptionTable::Entry& entry, const std::string& raw, const std::string& where) {
  std::string text = expand_variables(raw, where);
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front())
    text = text.substr(1, text.size() - 2);
  const bool is_list = std::holds_alternative<std::vector<double>*>(entry.target) ||
                       std::holds_alternative<std::vector<std::string>*>(entry.target);
  const bool may_be_empty = entry.text.allow_empty && (is_list || std::holds_alternative<std::string*>(entry.target));
  if (text.empty() && !may_be_empty)
    fail_input(concat(where, ": ", entry.name(), " has no value"), "a forgotten value would pass as a choice",
               "write one or remove the line");
  if (!text.empty() || is_list) {
    std::visit(Assign{entry, text, where}, entry.target);
  } else {
    std::get<std::string*>(entry.target)->clear();
  }
  entry.origin = where;
}

std::string OptionTable::value_text(const Entry& entry) { return std::visit(Print{}, entry.target); }

std::string allowed_text(const OptionText& text) {
  if (!text.choices.empty()) {
    std::string list;
    for (const auto& choice : text.choices) list += (list.empty() ? "" : ", ") + choice;
    return list;
  }
  return range_text(text) == "any" ? "" : range_text(text);
}

std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);  // Levenshtein's distance, one row at a time
    for (std::size_t j = 0; j <= candidate.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t replaced = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace rluf
