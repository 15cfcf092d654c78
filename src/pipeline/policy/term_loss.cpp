// Suffixes of shapes: R response tokens of the micro-batch, D documents, P pairs.
#include "rluf/pipeline/policy/term_loss.hpp"

#include <torch/torch.h>

#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/policy/policy_gradients.hpp"
#include "rluf/pipeline/policy/preference_losses.hpp"

namespace rluf {
namespace {

void show(const at::Tensor& log_probs_R, const ResponseRows& rows, const std::vector<std::size_t>& numbers,
          const LogProbObserver& observe) {
  if (!observe) return;
  const at::Tensor values = log_probs_R.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  const std::span<const float> all(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel()));
  for (std::size_t d = 0; d < numbers.size(); ++d)
    observe(numbers[d], all.subspan(static_cast<std::size_t>(rows.offsets[d]),
                                    static_cast<std::size_t>(rows.offsets[d + 1] - rows.offsets[d])));
}

at::Tensor doubles(const std::vector<double>& values, at::Device device) {
  return torch::tensor(values, torch::kFloat64).to(device);
}

/// Sums over the response tokens of each document. @shape [R] -> [D]
at::Tensor sums_of(const at::Tensor& values_R, const ResponseRows& rows) {
  std::vector<at::Tensor> sums;
  for (std::size_t d = 0; d + 1 < rows.offsets.size(); ++d)
    sums.push_back(values_R.slice(0, rows.offsets[d], rows.offsets[d + 1]).sum());
  return torch::stack(sums);
}

/// @shape [D]
at::Tensor token_counts(const ResponseRows& rows, at::Device device) {
  std::vector<double> counts;
  for (std::size_t d = 0; d + 1 < rows.offsets.size(); ++d)
    counts.push_back(static_cast<double>(rows.offsets[d + 1] - rows.offsets[d]));
  return doubles(counts, device);
}

/// A value of each document for each of its response tokens. @shape [D] -> [R]
at::Tensor spread(const std::vector<double>& values, const ResponseRows& rows, at::Device device) {
  std::vector<double> spread_R;
  for (std::size_t d = 0; d < values.size(); ++d)
    spread_R.insert(spread_R.end(), static_cast<std::size_t>(rows.offsets[d + 1] - rows.offsets[d]), values[d]);
  return doubles(spread_R, device);
}

/// log p of the response tokens by a model that is not trained. @shape [R] float64
at::Tensor fixed_log_probs(const Llama& model, const std::vector<Document>& documents, const ResponseRows& rows) {
  const torch::NoGradGuard no_grad;
  return response_token_log_probs(model, documents, rows).to(torch::kFloat64);
}

/// Documents stand in turn: chosen, rejected, chosen, ...
PairLogProbs pairs_of(const at::Tensor& log_probs_R, const at::Tensor& reference_R, const ResponseRows& rows) {
  const at::Tensor sums_P2 = sums_of(log_probs_R, rows).view({-1, 2}),
                   reference_P2 = sums_of(reference_R, rows).view({-1, 2});
  return {sums_P2.select(1, 0), sums_P2.select(1, 1), reference_P2.select(1, 0), reference_P2.select(1, 1)};
}

}  // namespace

LossFunction weighted_log_prob_loss(const std::vector<Document>& documents, const std::vector<double>& coefficients,
                                    const LogProbObserver& observe) {
  return [&documents, &coefficients, observe](const Llama& model, const std::vector<std::int64_t>& examples) {
    std::vector<Document> batch;
    std::vector<float> row_coefficients;
    for (const std::int64_t example : examples) {
      const auto i = static_cast<std::size_t>(example);
      batch.push_back(documents[i]);
      const auto rows = documents[i].tokens.size() - static_cast<std::size_t>(documents[i].response_start);
      row_coefficients.insert(row_coefficients.end(), rows, static_cast<float>(coefficients[i]));
    }
    const ResponseRows response = response_rows(batch, model.device());
    const at::Tensor log_probs_R = response_token_log_probs(model, batch, response);
    show(log_probs_R, response, {examples.begin(), examples.end()}, observe);
    const at::Tensor coefficients_R = torch::tensor(row_coefficients, torch::kFloat32).to(model.device());
    return MicroLoss{(log_probs_R * coefficients_R).sum(), {}};
  };
}

std::int64_t TrainedTerm::num_tokens() const {
  return std::accumulate(documents.begin(), documents.end(), std::int64_t{0}, [](std::int64_t sum, const Document& d) {
    return sum + static_cast<std::int64_t>(d.tokens.size());
  });
}

LossFunction term_loss(LossForm form, const std::vector<TrainedTerm>& terms, const PolicyOptions& options,
                       const Llama& reference, const LogProbObserver& observe) {
  if (form == LossForm::kLogProb) {
    std::vector<Document> documents;
    std::vector<double> coefficients;
    for (const TrainedTerm& term : terms) {
      const Document& document = term.documents.at(0);
      const auto num_tokens = static_cast<std::int64_t>(document.tokens.size()) - document.response_start;
      documents.push_back(document);
      coefficients.push_back(term.scale * loss_coefficient(term.weight, num_tokens, options.length_normalization()));
    }
    return [documents = std::move(documents), coefficients = std::move(coefficients), observe](
               const Llama& model, const std::vector<std::int64_t>& examples) {
      return weighted_log_prob_loss(documents, coefficients, observe)(model, examples);
    };
  }
  return [form, &terms, &options, &reference, observe](const Llama& model, const std::vector<std::int64_t>& examples) {
    std::vector<Document> documents;
    std::vector<std::size_t> numbers;
    std::vector<double> scales, weights, drawn_R, drawn_D;
    const std::size_t documents_each = form == LossForm::kPair ? 2 : 1;
    for (const std::int64_t example : examples) {
      const TrainedTerm& term = terms[static_cast<std::size_t>(example)];
      RLUF_ASSERT(term.documents.size() == documents_each);
      scales.push_back(term.scale);
      weights.push_back(term.weight);
      for (std::size_t j = 0; j < documents_each; ++j) {
        documents.push_back(term.documents[j]);
        numbers.push_back(static_cast<std::size_t>(example) * documents_each + j);
      }
      if (form == LossForm::kPair) continue;
      const std::vector<float>& drawn = term.drawn.at(0)->log_probs;
      drawn_R.insert(drawn_R.end(), drawn.begin(), drawn.end());
      drawn_D.push_back(std::accumulate(drawn.begin(), drawn.end(), 0.0));
    }
    const at::Device device = model.device();
    const ResponseRows rows = response_rows(documents, device);
    const at::Tensor seen_R = response_token_log_probs(model, documents, rows);
    show(seen_R, rows, numbers, observe);
    const at::Tensor log_probs_R = seen_R.to(torch::kFloat64);
    const at::Tensor counts_D = token_counts(rows, device), scales_T = doubles(scales, device);
    if (form == LossForm::kPair) {
      const PairLogProbs pairs = pairs_of(log_probs_R, fixed_log_probs(reference, documents, rows), rows);
      const at::Tensor loss_P = options.optimizer == "codpo" ? codpo_loss(pairs, counts_D.view({-1, 2}).select(1, 0),
                                                                          options.dpo_beta, options.codpo_lambda)
                                                             : dpo_loss(pairs, options.dpo_beta);
      return MicroLoss{(scales_T * loss_P).sum(), {}};
    }
    if (form == LossForm::kClippedResponses) {
      const at::Tensor surrogate_D = clipped_surrogate(sums_of(log_probs_R, rows), doubles(drawn_D, device),
                                                       doubles(weights, device), options.clip_range);
      return MicroLoss{-(scales_T * surrogate_D).sum(), {}};
    }
    at::Tensor loss_R =
        -clipped_surrogate(log_probs_R, doubles(drawn_R, device), spread(weights, rows, device), options.clip_range);
    if (options.kl_penalty > 0)
      loss_R = loss_R + options.kl_penalty * kl_estimate(log_probs_R, fixed_log_probs(reference, documents, rows));
    return MicroLoss{(scales_T * sums_of(loss_R, rows) / counts_D).sum(), {}};
  };
}

LossFunction offline_dpo_loss(
    const std::function<std::vector<Document>(const std::vector<std::int64_t>& examples)>& documents, double beta,
    const Llama& reference) {
  return [documents, beta, &reference](const Llama& model, const std::vector<std::int64_t>& examples) {
    const std::vector<Document> batch = documents(examples);
    const ResponseRows rows = response_rows(batch, model.device());
    const PairLogProbs pairs = pairs_of(response_token_log_probs(model, batch, rows).to(torch::kFloat64),
                                        fixed_log_probs(reference, batch, rows), rows);
    const at::Tensor margins_P = pairs.margins().detach();
    return MicroLoss{dpo_loss(pairs, beta).sum(),
                     {{"accuracy", (margins_P > 0).sum().item<double>()}, {"margin", margins_P.sum().item<double>()}}};
  };
}

}  // namespace rluf
