#include "rluf/pipeline/alarms/gain_curve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/statistics/ratio.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kFewestPoints = 4;

/// What beta takes off at d.
double loss_term(double d, GainForm form) { return form == GainForm::kBestOfN ? d * d : d * std::log(d); }

/// KL at the peak of a curve with this alpha / beta.
double peak_of(double ratio, GainForm form) {
  const double d = form == GainForm::kBestOfN ? ratio / 2 : std::exp(ratio - 1);
  return d * d;
}

std::string sentence_of(const GainCurve& curve, double largest_kl) {
  if (!std::isfinite(curve.beta.value)) return "too few rounds away from the reference for a curve";
  if (!std::isfinite(curve.peak_kl.value)) return "the fitted gain does not turn down";
  const std::string peak =
      concat("the fitted gain is largest at ", interval_text(curve.peak_kl.to_json(), 1, 2), " nats");
  if (!std::isfinite(curve.peak_kl.low)) return peak + ", which chance may have made";
  if (largest_kl > curve.peak_kl.high) return concat(peak, ", and the policy went on to ", largest_kl);
  return concat(peak, ", and the policy came to ", largest_kl);
}

}  // namespace

GainCurve fit_gain_curve(const std::vector<GainPoint>& points, GainForm form) {
  double xx = 0, xy = 0, yy = 0, x_gain = 0, y_gain = 0, n = 0;  // gain = alpha x + beta y
  const auto terms = [&](const GainPoint& point) {
    const double d = std::sqrt(point.kl);
    return std::pair(d, -loss_term(d, form));
  };
  for (const GainPoint& point : points) {
    if (!(point.kl > 0)) continue;
    const auto [x, y] = terms(point);
    xx += x * x, xy += x * y, yy += y * y, x_gain += x * point.gain, y_gain += y * point.gain, n += 1;
  }
  const double determinant = xx * yy - xy * xy;
  GainCurve curve{{kNaN, kNaN, kNaN}, {kNaN, kNaN, kNaN}, {kNaN, kNaN, kNaN}, kNaN};
  if (n < kFewestPoints || !(determinant > 1e-12 * xx * yy)) return curve;
  const double alpha = (yy * x_gain - xy * y_gain) / determinant, beta = (xx * y_gain - xy * x_gain) / determinant;
  double squares = 0;
  for (const GainPoint& point : points) {
    if (!(point.kl > 0)) continue;
    const auto [x, y] = terms(point);
    squares += std::pow(point.gain - alpha * x - beta * y, 2);
  }
  const double variance = squares / (n - 2), variance_alpha = variance * yy / determinant,
               variance_beta = variance * xx / determinant, covariance = -variance * xy / determinant;
  curve.alpha = normal_interval(alpha, variance_alpha);
  curve.beta = normal_interval(beta, variance_beta);
  curve.residual = std::sqrt(squares / n);
  if (!(alpha > 0 && beta > 0)) return curve;
  const Interval ratio = fieller_ratio(alpha, beta, variance_alpha, variance_beta, covariance);
  curve.peak_kl = {peak_of(ratio.value, form), peak_of(std::max(0.0, ratio.low), form), peak_of(ratio.high, form)};
  if (!std::isfinite(ratio.low)) curve.peak_kl.low = curve.peak_kl.high = kNaN;
  return curve;
}

Json gain_curves(const Json& rounds) {
  Json rows = Json::array();
  if (rounds.empty()) return rows;
  for (const auto& [key, unused] : rounds.front().items()) {
    if (!key.starts_with("gain_")) continue;
    std::vector<GainPoint> points;
    double largest_kl = 0;
    for (const Json& round : rounds) {
      points.push_back({round.at("kl"), round.at(key)});
      largest_kl = std::max(largest_kl, points.back().kl);
    }
    const GainCurve best_of_n = fit_gain_curve(points, GainForm::kBestOfN),
                    reinforcement = fit_gain_curve(points, GainForm::kReinforcement);
    const bool is_best_of_n = !(reinforcement.residual < best_of_n.residual);
    const GainCurve& curve = is_best_of_n ? best_of_n : reinforcement;
    rows.push_back({{"objective", key.substr(std::string("gain_").size())},
                    {"form", is_best_of_n ? "d (alpha - beta d)" : "d (alpha - beta ln d)"},
                    {"alpha", curve.alpha.to_json()},
                    {"beta", curve.beta.to_json()},
                    {"residual", number_or_null(curve.residual)},
                    {"peak_kl", curve.peak_kl.to_json()},
                    {"largest_kl", largest_kl},
                    {"sentence", sentence_of(curve, largest_kl)}});
  }
  return rows;
}

}  // namespace rluf
