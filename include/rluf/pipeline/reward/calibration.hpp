#pragma once
/// How a raw score becomes a probability, and how that is fitted on a window that was not trained on. Pure functions.
#include <string>
#include <utility>
#include <vector>

namespace rluf {

/// Kept in the model folder as rluf_reward.json.
struct Calibration {
  std::string objective;                       ///< love, helpfulness, safety
  std::string kind;                            ///< "binary" (love) or "pairwise" (Bradley-Terry)
  double prior_correction = 0;                 ///< added to the raw logit (binary only)
  double scale = 1, shift = 0;                 ///< calibrated logit = scale * (raw + prior_correction) + shift
  std::vector<double> logits, probabilities;   ///< isotonic: knots that take the place of the sigmoid; else empty
  double length_slope = 0, length_center = 0;  ///< taken off the model's score: slope * (ln response tokens - center)
  std::string heads = "mean";                  ///< how several heads become one score: mean, or lower bound
  double lower_deviations = 1;                 ///< of lower: standard deviations below the mean
};

/// scale * (raw + prior_correction) + shift, or the log-odds of the isotonic probability there.
double calibrated_logit(double raw_score, const Calibration& calibration);
/// Probability of the objective from a raw score: sigmoid(scale * (raw + prior_correction) + shift), or, where knots
/// were fitted, the line between the knots on both sides. @source ALGORITHM 1.2
double calibrated_probability(double raw_score, const Calibration& calibration);

/// Mean of a document's heads, or that many standard deviations (n - 1) below it. @source lower bounds of ensembles:
/// Coste et al., "Reward model ensembles help mitigate overoptimization", 2024
double combined_heads(const double* heads, std::size_t num_heads, const Calibration& calibration);
/// Standard deviation (n - 1) of a document's heads; 0 for one.
double disagreement(const double* heads, std::size_t num_heads);

/// What the score rises by a unit of ln(tokens), by least squares: {slope, mean of ln tokens}; {0, mean} where all are
/// equally long. @shape scores, tokens [n]
std::pair<double, double> length_line(const std::vector<double>& scores, const std::vector<double>& tokens);
/// A score without its length's share. @unit tokens: of the response
double without_length(double score, double tokens, const Calibration& calibration);

/// The window's rows stand at the rate of the training split; `prior` (what to add to a logit learned there) leads back
/// to the natural one. Both return whether there is a fit: none with one class or where scores do not rise with labels.
/// temperature: scale alone, the maximum likelihood of sigmoid(scale * (raw + prior) - prior).
/// @source Guo et al., "On calibration of modern neural networks", 2017
bool fit_temperature(const std::vector<double>& raw, const std::vector<double>& labels, Calibration& calibration);
/// platt: scale and shift. @source Platt, "Probabilistic outputs for support vector machines", 1999
bool fit_platt(const std::vector<double>& raw, const std::vector<double>& labels, Calibration& calibration);
/// isotonic: the rising step function of least squares, positives weighted by exp(prior) so that it stands at the
/// natural rate; its steps' ends are the knots. Probabilities stay half a row away from 0 and 1.
/// @source Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002;
/// pool adjacent violators: Barlow et al., "Statistical inference under order restrictions", 1972
bool fit_isotonic(const std::vector<double>& raw, const std::vector<double>& labels, Calibration& calibration);

}  // namespace rluf
