#pragma once
/// What a policy gains on the way from its reference: it rises, and falls where the reward is no longer what it stood
/// for. Pure functions.
#include <nlohmann/json.hpp>
#include <vector>

#include "rluf/statistics/interval.hpp"

namespace rluf {

/// With d = sqrt(KL(policy || reference)): kBestOfN gain = d (alpha - beta d), kReinforcement d (alpha - beta ln d).
/// @source Gao, Schulman, Hilton, "Scaling Laws for Reward Model Overoptimization", arXiv 2210.10760
enum class GainForm { kBestOfN, kReinforcement };

/// Mean gain of raw reward over the reference, at a mean log-ratio.
struct GainPoint {
  double kl = 0;  ///< @unit nats
  double gain = 0;
};

/// By least squares over the points with kl > 0, which are taken as independent; intervals at 95 %. The peak is where
/// the fitted gain is largest, with Fieller's interval for alpha / beta; without a value unless alpha and beta are
/// above 0, without bounds unless beta is so beyond chance.
struct GainCurve {
  Interval alpha, beta, peak_kl;  ///< NaN with fewer than four points
  double residual = 0;            ///< root of the mean square of what the curve leaves over
};
GainCurve fit_gain_curve(const std::vector<GainPoint>& points, GainForm form);

/// A row for each gain_OBJECTIVE of a policy's rounds: the form that fits better, its curve, the largest KL of a round,
/// and a sentence that says where the peak is and whether the policy has passed it.
nlohmann::json gain_curves(const nlohmann::json& rounds);

}  // namespace rluf
