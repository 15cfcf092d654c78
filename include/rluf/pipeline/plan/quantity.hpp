#pragma once
/// Numbers that know how they came about, so that a plan is computed and explained by the same lines of code.
#include <string>
#include <vector>

namespace rluf {

/// A number with its formula in symbols and the same formula with the numbers put in.
class Quantity {
 public:
  Quantity(double constant = 0);  // NOLINT: 2 * t reads as the formula does
  Quantity(const std::string& symbol, double value);
  /// The same value under a symbol of its own, as which it stands in later formulas.
  Quantity as(const std::string& symbol) const;
  double value() const { return value_; }
  /// "p = 2 D F = 2 x 4,096 x 14,336 = 117,440,512"; only "D = 4,096" for a number that was given.
  std::string derivation() const;

  friend Quantity operator+(const Quantity& a, const Quantity& b);
  friend Quantity operator-(const Quantity& a, const Quantity& b);
  friend Quantity operator*(const Quantity& a, const Quantity& b);
  friend Quantity operator/(const Quantity& a, const Quantity& b);
  friend Quantity ceil(const Quantity& a);
  friend Quantity floor(const Quantity& a);
  friend Quantity max(const Quantity& a, const Quantity& b);
  friend Quantity min(const Quantity& a, const Quantity& b);

 private:
  enum class Binds { kSum, kProduct, kAtom };
  /// How a term is written, once in symbols and once in numbers.
  struct Written {
    std::string symbols, numbers;
  };
  static Quantity join(const Quantity& a, const Quantity& b, double value, Binds binds, const Written& between,
                       bool right_binds_tighter = false);
  static Quantity call(const std::string& name, const std::vector<Quantity>& arguments, double value);
  Written inside(Binds needed) const;
  bool is_constant(double value) const;  ///< written as that number: adding 0 or multiplying by 1 leaves no trace
  double value_ = 0;
  Written text_, origin_;  ///< as it stands in formulas; how it was computed
  Binds binds_ = Binds::kAtom;
};

/// One line of a plan: what it is, its value with its derivation, its unit.
struct Figure {
  std::string text;
  Quantity quantity;
  std::string unit = "";
};

/// Exact with separators of thousands where that is short, else six digits: "8,192", "9.894e14", "0.65".
std::string number_text(double value);
/// "17.6 GB": three digits with a decimal prefix.
std::string short_text(double value, const std::string& unit);

}  // namespace rluf
