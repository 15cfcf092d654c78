// reward_driver CASES.json OUT.json: metrics, losses and their gradients of the cases that reward_oracle.py made.
#include <ATen/ATen.h>

#include <Kokkos_Core.hpp>

#include "rluf/io/jsonl.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/reward/calibration.hpp"
#include "rluf/pipeline/reward/losses.hpp"
#include "rluf/pipeline/reward/metrics.hpp"

using namespace rluf;

static Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

static Json metrics_of(const Json& one) {
  const auto logits = one.at("logits").get<std::vector<double>>(), labels = one.at("labels").get<std::vector<double>>();
  const BinaryScores scores = BinaryScores::sorted(logits, labels, one.at("clusters").get<std::vector<std::int64_t>>());
  const std::vector<double> ones(logits.size(), 1.0);
  const auto [intercept, slope] = calibration_line(scores, ones);
  Json bins = Json::array();
  for (const ReliabilityBin& bin : reliability(scores)) bins.push_back({bin.mean_probability, bin.rate, bin.count});
  return {{"auroc", number(auroc(scores, ones))},
          {"auprc", number(auprc(scores, ones))},
          {"log_loss", number(log_loss(scores, ones))},
          {"brier", number(brier(scores, ones))},
          {"ece", number(ece(scores, ones))},
          {"intercept", number(intercept)},
          {"slope", number(slope)},
          {"pearson", number(pearson(logits, labels))},
          {"clusters", scores.num_clusters},
          {"reliability", bins}};
}

static at::Tensor tensor_of(const Json& values) {
  const auto numbers = values.get<std::vector<double>>();
  return at::tensor(numbers, at::kDouble).to(at::kFloat);
}

static Json list_of(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
}

static Json losses_of(const Json& one) {
  at::Tensor raw = tensor_of(one.at("raw")).requires_grad_(), chosen = tensor_of(one.at("chosen")).requires_grad_(),
             rejected = tensor_of(one.at("rejected")).requires_grad_();
  const at::Tensor cross_entropy = binary_cross_entropy_sum(raw.unsqueeze(1), tensor_of(one.at("labels")));
  const at::Tensor pairs =
      bradley_terry_sum(chosen.unsqueeze(1), rejected.unsqueeze(1), tensor_of(one.at("margins")), one.at("centering"));
  (cross_entropy + pairs).backward();
  return {{"cross_entropy", cross_entropy.item<double>()},
          {"pairs", pairs.item<double>()},
          {"raw_grad", list_of(raw.grad())},
          {"chosen_grad", list_of(chosen.grad())},
          {"rejected_grad", list_of(rejected.grad())}};
}

static Json ordinals_of(const Json& one) {
  at::Tensor raw = tensor_of(one.at("raw")).requires_grad_(), offsets = tensor_of(one.at("offsets")).requires_grad_();
  const auto levels = one.at("levels").get<std::vector<std::int64_t>>();
  const at::Tensor thresholds = rising_thresholds(tensor_of(one.at("start")), offsets);
  const at::Tensor loss = cumulative_logit_sum(raw, at::tensor(levels, at::kLong), thresholds);
  loss.backward();
  return {{"thresholds", list_of(thresholds.detach())},
          {"loss", loss.item<double>()},
          {"raw_grad", list_of(raw.grad())},
          {"offsets_grad", list_of(offsets.grad())}};
}

static Json predictions_of(const Json& one) {
  const Predictions values{one.at("predicted"), one.at("truth")};
  const auto weights = one.at("weights").get<std::vector<double>>();
  return {{"rank_correlation", number(rank_correlation(values, weights))},
          {"r_squared", number(r_squared(values, weights))},
          {"quadratic_kappa", number(quadratic_kappa(values, weights))},
          {"mean_absolute_error", number(mean_absolute_error(values, weights))}};
}

static Json calibrations_of(const Json& one) {
  const auto raw = one.at("raw").get<std::vector<double>>(), labels = one.at("labels").get<std::vector<double>>();
  Calibration temperature{.prior_correction = one.at("prior")}, isotonic{.prior_correction = one.at("prior")};
  const bool has_temperature = fit_temperature(raw, labels, temperature),
             has_steps = fit_isotonic(raw, labels, isotonic);
  Json probabilities = Json::array();
  for (const Json& x : one.at("asked")) probabilities.push_back(calibrated_probability(x, isotonic));
  return {{"scale", has_temperature ? Json(temperature.scale) : Json(nullptr)},
          {"isotonic", has_steps ? probabilities : Json(nullptr)}};
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const Kokkos::ScopeGuard kokkos(argc, argv);
  const Json cases = read_json(argv[1]);
  Json out{{"metrics", Json::array()}, {"losses", Json::array()}};
  for (const Json& one : cases.at("metrics")) out["metrics"].push_back(metrics_of(one));
  for (const Json& one : cases.at("losses")) out["losses"].push_back(losses_of(one));
  for (const Json& one : cases.at("calibrations")) out["calibrations"].push_back(calibrations_of(one));
  for (const Json& one : cases.at("ordinals")) out["ordinals"].push_back(ordinals_of(one));
  for (const Json& one : cases.at("predictions")) out["predictions"].push_back(predictions_of(one));
  write_json(argv[2], out);
}
