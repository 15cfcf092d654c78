#include "rluf/pipeline/plan/quantity.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "rluf/core/error.hpp"

namespace rluf {

std::string number_text(double value) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.6g", value);
  const bool is_whole = std::floor(value) == value && std::abs(value) < 1e15;
  const bool is_round = std::abs(value) >= 1e9 && std::strtod(digits, nullptr) == value;
  const bool separate = is_whole && !is_round;
  if (separate) std::snprintf(digits, sizeof digits, "%.0f", value);
  const std::string all = digits;
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool in_exponent = !separate && i > 0 && all.find('e') < i;
    if (in_exponent &&
        (all[i] == '+' || (all[i] == '0' && text.find_first_of("123456789", all.find('e')) == text.npos)))
      continue;
    if (separate && i > 0 && all[i - 1] != '-' && (all.size() - i) % 3 == 0) text += ',';
    text += all[i];
  }
  return text;
}

std::string short_text(double value, const std::string& unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t prefix = 0;
  for (; std::abs(value) >= 999.5 && prefix + 1 < std::size(prefixes); ++prefix) value /= 1000;
  char text[64];
  std::snprintf(text, sizeof text, "%.3g %s%s", value, prefixes[prefix], unit.c_str());
  return text;
}

Quantity::Quantity(double constant) : value_(constant), text_{number_text(constant), number_text(constant)} {}

Quantity::Quantity(const std::string& symbol, double value) : value_(value), text_{symbol, number_text(value)} {}

Quantity Quantity::as(const std::string& symbol) const {
  Quantity named(symbol, value_);
  named.origin_ = text_;
  return named;
}

std::string Quantity::derivation() const {
  if (origin_.symbols.empty()) return text_.symbols + (text_.symbols == text_.numbers ? "" : " = " + text_.numbers);
  const std::string value = number_text(value_);
  std::string text = text_.symbols;
  if (origin_.symbols != origin_.numbers) text += " = " + origin_.symbols;
  if (origin_.numbers != value) text += " = " + origin_.numbers;
  return text + " = " + value;
}

Quantity::Written Quantity::inside(Binds needed) const {
  if (binds_ >= needed) return text_;
  return {"(" + text_.symbols + ")", "(" + text_.numbers + ")"};
}

Quantity Quantity::join(const Quantity& a, const Quantity& b, double value, Binds binds, const Written& between,
                        bool right_binds_tighter) {
  const Written left = a.inside(binds), right = b.inside(right_binds_tighter ? Binds::kAtom : binds);
  Quantity joined;
  joined.value_ = value;
  joined.text_ = {left.symbols + between.symbols + right.symbols, left.numbers + between.numbers + right.numbers};
  joined.binds_ = binds;
  return joined;
}

Quantity Quantity::call(const std::string& name, const std::vector<Quantity>& arguments, double value) {
  Quantity result;
  result.value_ = value;
  result.text_ = {name + "(", name + "("};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    result.text_.symbols += (i ? ", " : "") + arguments[i].text_.symbols;
    result.text_.numbers += (i ? ", " : "") + arguments[i].text_.numbers;
  }
  result.text_.symbols += ")";
  result.text_.numbers += ")";
  return result;
}

bool Quantity::is_constant(double value) const { return value_ == value && text_.symbols == number_text(value); }

Quantity operator+(const Quantity& a, const Quantity& b) {
  if (a.is_constant(0)) return b;
  if (b.is_constant(0)) return a;
  return Quantity::join(a, b, a.value_ + b.value_, Quantity::Binds::kSum, {" + ", " + "});
}
Quantity operator-(const Quantity& a, const Quantity& b) {
  return Quantity::join(a, b, a.value_ - b.value_, Quantity::Binds::kSum, {" - ", " - "}, true);
}
Quantity operator*(const Quantity& a, const Quantity& b) {
  if (a.is_constant(1) || b.is_constant(0)) return b;
  if (b.is_constant(1) || a.is_constant(0)) return a;
  // After a division a bare space would leave open what is divided.
  const bool divided = a.text_.symbols.find(" / ") != std::string::npos;
  return Quantity::join(a, b, a.value_ * b.value_, Quantity::Binds::kProduct, {divided ? " x " : " ", " x "});
}
Quantity operator/(const Quantity& a, const Quantity& b) {
  if (a.is_constant(0)) return a;
  return Quantity::join(a, b, a.value_ / b.value_, Quantity::Binds::kProduct, {" / ", " / "}, true);
}
Quantity ceil(const Quantity& a) { return Quantity::call("ceil", {a}, std::ceil(a.value_)); }
Quantity floor(const Quantity& a) { return Quantity::call("floor", {a}, std::floor(a.value_)); }
Quantity max(const Quantity& a, const Quantity& b) {
  return Quantity::call("max", {a, b}, std::max(a.value_, b.value_));
}
Quantity min(const Quantity& a, const Quantity& b) {
  return Quantity::call("min", {a, b}, std::min(a.value_, b.value_));
}

}  // namespace rluf
