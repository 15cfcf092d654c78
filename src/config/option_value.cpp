#include "option_value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

std::string number_text(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;  // the shortest text that reads back the same
  return {text, end};
}

std::string bound_text(double value) {
  if (std::abs(value) < 1e15 && value == std::floor(value)) return std::to_string(static_cast<long long>(value));
  return number_text(value);
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// Parts between commas; without a comma, parts between spaces. Names and paths with spaces so stay whole.
std::vector<std::string> list_items(const std::string& text) {
  const bool commas = text.find(',') != std::string::npos;
  std::vector<std::string> items;
  std::string item;
  const auto finish = [&] {
    while (!item.empty() && item.back() == ' ') item.pop_back();
    if (!item.empty() || commas) items.push_back(item);
    item.clear();
  };
  for (const char c : text) {
    const bool space = c == ' ' || c == '\t';
    if (commas ? c == ',' : space) {
      finish();
    } else if (!space || !item.empty()) {
      item += space ? ' ' : c;
    }
  }
  finish();
  return items;
}

/// Says what is wrong with one option, in the one form that all such messages have.
class Complaint {
 public:
  Complaint(const OptionTable::Entry& entry, const std::string& place) : entry_(entry), place_(place) {}

  [[noreturn]] void value(const std::string& text, const std::string& must) const {
    const std::string unit = entry_.text.unit.empty() ? "" : concat(" [", entry_.text.unit, "]");
    fail_input(concat(place_, entry_.name(), " = ", text, " must be ", must), concat(entry_.text.text, unit),
               concat("give another value, or leave it out to have ", entry_.name(), " = ",
                      entry_.default_value.empty() ? "(empty)" : entry_.default_value));
  }
  void range(double number, const std::string& text) const {
    if (number < entry_.text.low || number > entry_.text.high) value(text, range_text(entry_));
  }
  void choice(const std::string& word) const {
    const auto& choices = entry_.text.choices;
    if (choices.empty() || std::find(choices.begin(), choices.end(), word) != choices.end()) return;
    const std::string near = nearest_name(word, choices);
    value(word, concat(range_text(entry_), near.empty() ? "" : concat("; did you mean ", near, "?")));
  }

 private:
  const OptionTable::Entry& entry_;
  const std::string& place_;
};

template <class Number>
Number parsed(const std::string& text, const Complaint& complaint, const std::string& must) {
  Number value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec == std::errc::result_out_of_range) complaint.value(text, must + " that fits in 64 bits");
  if (result.ec != std::errc{} || result.ptr != text.data() + text.size()) complaint.value(text, must);
  return value;
}

struct Store {
  const std::string& text;
  const Complaint& complaint;

  double number(const std::string& word) const {
    const auto value = parsed<double>(word, complaint, "a number such as 0.1 or 2e-4");
    if (!std::isfinite(value)) complaint.value(word, "a finite number");
    complaint.range(value, word);
    return value;
  }
  void operator()(bool* target) const {
    if (text != "true" && text != "false") complaint.value(text, "true or false");
    *target = text == "true";
  }
  void operator()(std::int64_t* target) const {
    const auto value = parsed<std::int64_t>(text, complaint, "a whole number in plain digits");
    complaint.range(static_cast<double>(value), text);
    *target = value;
  }
  void operator()(double* target) const { *target = number(text); }
  void operator()(std::string* target) const {
    complaint.choice(text);
    *target = text;
  }
  void operator()(std::vector<double>* target) const {
    std::vector<double> values;
    for (const auto& item : list_items(text)) values.push_back(number(item));
    *target = values;
  }
  void operator()(std::vector<std::string>* target) const {
    std::vector<std::string> values = list_items(text);
    for (const auto& item : values) {
      if (item.empty()) complaint.value(text, "a list without empty parts");
      complaint.choice(item);
    }
    *target = values;
  }
};

struct Print {
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const double* value) const { return number_text(*value); }
  std::string operator()(const std::string* value) const { return *value; }
  std::string operator()(const std::vector<double>* values) const {
    std::vector<std::string> words;
    for (const double value : *values) words.push_back(number_text(value));
    return joined(words);
  }
  std::string operator()(const std::vector<std::string>* values) const {
    // A lone name with a space needs a comma to stay one item, and that would add an empty one: spaces are not used.
    return joined(*values);
  }
};

}  // namespace

void set_value(const OptionTable::Entry& entry, const std::string& text, const std::string& place) {
  const Complaint complaint(entry, place);
  const bool takes_empty = std::holds_alternative<std::string*>(entry.target) ||
                           std::holds_alternative<std::vector<std::string>*>(entry.target) ||
                           std::holds_alternative<std::vector<double>*>(entry.target);
  if (text.empty()) {
    if (!takes_empty || !entry.text.allow_empty)
      fail_input(concat(place, entry.name(), " has no value"), entry.text.text,
                 "write a value after the =, or leave the line out to have the default");
    if (auto* const* words = std::get_if<std::string*>(&entry.target)) (*words)->clear();
    if (auto* const* list = std::get_if<std::vector<std::string>*>(&entry.target)) (*list)->clear();
    if (auto* const* list = std::get_if<std::vector<double>*>(&entry.target)) (*list)->clear();
    return;
  }
  if (text.find_first_of(std::string("\"\n\r\0", 4)) != std::string::npos)
    fail_input(concat(place, entry.name(), " holds a double quote, a line end or a zero byte"),
               "used.ini could not be read back", "leave it out of the value");
  std::visit(Store{text, complaint}, entry.target);
}

std::string range_text(const OptionTable::Entry& entry) {
  const OptionText& text = entry.text;
  if (std::holds_alternative<bool*>(entry.target)) return "true or false";
  if (!text.choices.empty())
    return concat(std::holds_alternative<std::string*>(entry.target) ? "one of " : "words out of ",
                  joined(text.choices));
  const bool low = std::isfinite(text.low), high = std::isfinite(text.high);
  if (low && high) return concat(bound_text(text.low), " to ", bound_text(text.high));
  if (low) return concat("at least ", bound_text(text.low));
  if (high) return concat("at most ", bound_text(text.high));
  return "";
}

std::string expand_environment(const std::string& text, const std::string& name, const std::string& place) {
  std::string expanded;
  std::size_t from = 0;
  for (std::size_t start; (start = text.find("${", from)) != std::string::npos;) {
    const std::size_t end = text.find('}', start);
    if (end == std::string::npos)
      fail_input(concat(place, name, " = ", text, " has ${ without }"), "the variable's name has no end", "add the }");
    const std::string variable = text.substr(start + 2, end - start - 2);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr)
      fail_input(concat(place, name, " uses ${", variable, "}, which is not set"), "the value would be cut short",
                 concat("export ", variable, "=... before the run (mpirun -x ", variable,
                        " passes it to other nodes), or write the value itself"));
    expanded += text.substr(from, start - from) + value;
    from = end + 1;
  }
  return expanded + text.substr(from);
}

std::string OptionTable::value_text(const Entry& entry) {
  return std::visit([](auto* target) { return Print{}(target); }, entry.target);
}

}  // namespace rluf
