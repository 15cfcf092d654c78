// optimizers_driver CASES.json OUT.json: terms, loss and gradients of the rounds that optimizers_oracle.py made.
#include <ATen/ATen.h>

#include <numeric>

#include "rluf/io/jsonl.hpp"
#include "rluf/parallel/environment.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"

using namespace rluf;

static PolicyOptions options_of(const Json& given) {
  PolicyOptions options;
  options.optimizer = given.at("optimizer");
  options.weights_apply_to = given.at("weights_apply_to");
  options.length_norm = given.at("length_norm");
  options.num_samples = given.at("num_samples");
  options.kl_max = given.at("kl_max");
  options.dpo_beta = given.at("dpo_beta");
  options.codpo_lambda = given.at("codpo_lambda");
  options.clip_range = given.at("clip_range");
  options.kl_penalty = given.at("kl_penalty");
  options.check();
  return options;
}

static Document join(const Json& prompt, const TokenIds& response) {
  Document document{prompt.get<TokenIds>(), static_cast<std::int64_t>(prompt.size())};
  document.tokens.insert(document.tokens.end(), response.begin(), response.end());
  return document;
}

static Json gradients_of(const Llama& model) {
  Json all;
  for (const auto& [name, parameter] : model.parameters()) {
    const at::Tensor values = parameter.grad().to(at::kDouble).contiguous();
    all[name] = std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
    parameter.mutable_grad().zero_();
  }
  return all;
}

static Json result_of(const Json& one, Llama& policy, const Llama& reference) {
  const PolicyOptions options = options_of(one.at("options"));
  RoundFacts facts{static_cast<std::size_t>(options.num_samples), {}, {}, {}};
  std::vector<Sample> samples, baselines;
  for (const Json& candidate : one.at("candidates")) {
    facts.candidates.push_back({candidate.at("satisfied"), candidate.at("log_ratio"), candidate.at("reward")});
    facts.objective_rewards.push_back(candidate.at("objective_rewards"));
    samples.push_back({candidate.at("tokens"), candidate.at("log_probs"), true});
  }
  for (const Json& baseline : one.at("baselines")) {
    facts.baselines.push_back({baseline.at("satisfied"), 0.0, baseline.at("reward")});
    baselines.push_back({baseline.at("tokens"), {}, true});
  }
  const auto weights = one.at("weights").get<std::vector<double>>();
  const RoundTerms chosen = round_terms(facts, options, weights);
  std::vector<TrainedTerm> terms;
  Json listed = Json::array();
  for (const Term& term : chosen.terms) {
    listed.push_back({term.prompt, term.response, term.rejected, term.weight, term.scale});
    terms.push_back({term.weight, term.scale, {}, {}});
    for (const std::int64_t response : {term.response, term.rejected}) {
      if (response == kNoResponse) continue;
      const auto prompt = static_cast<std::size_t>(term.prompt);
      const Sample& sample = response == kBaselineResponse
                                 ? baselines[prompt]
                                 : samples[prompt * facts.num_samples + static_cast<std::size_t>(response)];
      terms.back().documents.push_back(join(one.at("prompts").at(prompt), sample.tokens));
      terms.back().drawn.push_back(&sample);
    }
  }
  const LossFunction loss = term_loss(policy_optimizer(options.optimizer).form, terms, options, reference);
  double sum = 0;
  for (std::int64_t first = 0; first < std::ssize(terms); first += 3) {  // in micro-batches of three
    std::vector<std::int64_t> examples;
    for (std::int64_t i = first; i < std::min(first + 3, std::ssize(terms)); ++i) examples.push_back(i);
    const at::Tensor part = loss(policy, examples).loss_sum / chosen.divisor;
    part.backward();
    sum += part.item<double>();
  }
  return {{"terms", listed}, {"divisor", chosen.divisor}, {"loss", sum}, {"gradients", gradients_of(policy)}};
}

/// The warm-up's loss on pairs of a prompt, a chosen and a rejected answer.
static Json offline_result_of(const Json& pairs, double beta, Llama& policy, const Llama& reference) {
  const LossFunction loss = offline_dpo_loss(
      [&](const std::vector<std::int64_t>& examples) {
        std::vector<Document> documents;
        for (const std::int64_t i : examples) {
          const Json& pair = pairs.at(static_cast<std::size_t>(i));
          for (const std::size_t side : {1, 2}) documents.push_back(join(pair.at(0), pair.at(side)));
        }
        return documents;
      },
      beta, reference);
  std::vector<std::int64_t> examples(pairs.size());
  std::iota(examples.begin(), examples.end(), 0);
  const MicroLoss result = loss(policy, examples);
  const auto n = static_cast<double>(pairs.size());
  (result.loss_sum / n).backward();
  return {{"loss", result.loss_sum.item<double>() / n},
          {"gradients", gradients_of(policy)},
          {"accuracy", result.metric_sums.at("accuracy") / n},
          {"margin", result.metric_sums.at("margin") / n}};
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Environment environment(argc, argv);
  environment.configure(1, "cpu");
  const Json cases = read_json(argv[1]);
  Llama policy = Llama::load(cases.at("policy"), at::kCPU), reference = Llama::load(cases.at("reference"), at::kCPU);
  policy.set_trainable_layers(-1);
  Json out = Json::array();
  for (const Json& one : cases.at("rounds")) out.push_back(result_of(one, policy, reference));
  out.push_back(offline_result_of(cases.at("pairs"), cases.at("dpo_beta"), policy, reference));
  write_json(argv[2], out);
}
