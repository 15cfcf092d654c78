// Judges that are models, with tiny random ones, on any number of ranks.
#include "rluf/pipeline/judges/model_judges.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "byte_tokenizer.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/scoring.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// A tokenizer of single bytes with the marks of chatml.
std::unique_ptr<ModelText> byte_text(const Communicator& comm) {
  const std::string folder =
      comm.broadcast((fs::temp_directory_path() / ("rluf_bytes_" + std::to_string(getpid()))).string(), 0);
  if (comm.rank() == 0) write_byte_tokenizer(folder);
  comm.barrier();
  auto text = std::make_unique<ModelText>(Tokenizer::from_folder(folder), "chatml");
  comm.barrier();
  if (comm.rank() == 0) fs::remove_all(folder);
  return text;
}

LlamaConfig tiny_config(std::int64_t num_scores = 0) {
  LlamaConfig config;
  config.vocab_size = 260;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 8;
  config.max_position_embeddings = 200;
  config.num_scores = num_scores;
  return config;
}

const std::vector<Message> kPrompt = {{"user", "why?"}};

std::vector<JudgedResponse> answers(int count) {
  std::vector<JudgedResponse> responses;
  for (int i = 0; i < count; ++i)
    responses.push_back(
        {&kPrompt, concat("because ", i, std::string(static_cast<std::size_t>(i), '!')), true, 1, {}, {}});
  return responses;
}

TEST(ModelJudge, DecidesByTheProbabilitiesOfTwoTokens) {
  const Communicator world = Communicator::world(), self = Communicator::self();
  const auto text = byte_text(world);
  const Llama model(tiny_config(), 3, at::kCPU);
  NamedJudge options{
      .kind = "model", .question = "{prompt}|{response}|ok?", .satisfied_token = "Y", .violated_token = "N"};
  auto responses = answers(9);
  responses.push_back({&kPrompt, std::string(200, 'x'), true, 1, {}, {}});  // too long for the model
  const auto values = token_measure("ok", options, model, *text, {64, 10, 200, world})(responses);
  ASSERT_EQ(values.size(), 10U);
  for (std::size_t i = 0; i < 9; ++i) {
    // The same from the log-probabilities of two whole documents.
    const TokenIds prompt = text->chat.prompt({{"user", concat("why?|", responses[i].text, "|ok?")}});
    std::vector<double> log_probs;
    for (const char* token : {"Y", "N"}) {
      Document document{prompt, std::ssize(prompt)};
      document.tokens.push_back(text->tokenizer.encode(token).at(0));
      log_probs.push_back(response_log_probs(model, {document}, 1000, self, "test").at(0));
    }
    EXPECT_NEAR(values[i].value(), std::exp(log_probs[0]) / (std::exp(log_probs[0]) + std::exp(log_probs[1])), 1e-6);
  }
  EXPECT_FALSE(values[9].has_value());
  EXPECT_EQ(token_measure("ok", options, model, *text, {64, 10, 200, self})(responses), values)
      << "as on one rank, bit for bit";

  std::vector<double> sorted;
  for (std::size_t i = 0; i < 9; ++i) sorted.push_back(*values[i]);
  std::sort(sorted.begin(), sorted.end());
  const ThresholdJudge judge("model", sorted[4], [&](const auto&) { return values; });
  const auto verdicts = judge.verdicts(responses);
  EXPECT_EQ(std::count(verdicts.begin(), verdicts.end(), Verdict::kSatisfied), 5);
  EXPECT_EQ(std::count(verdicts.begin(), verdicts.end(), Verdict::kViolated), 4);
  EXPECT_EQ(verdicts.back(), Verdict::kFailed);

  // Another question to the same model, about what the prompt says is right.
  Constraints gold;
  gold.metadata = nlohmann::json{{"gold", "so"}};
  auto about_gold = answers(1);
  about_gold[0].constraints = &gold;
  options.question = "{response} is {metadata.gold}?";
  const auto facts = token_measure("facts", options, model, *text, {64, 10, 200, world})(about_gold);
  options.question = "{response} is so?";
  EXPECT_EQ(facts, token_measure("facts", options, model, *text, {64, 10, 200, world})(answers(1)));
  EXPECT_NE(facts[0], values[0]);
  options.violated_token = "No";
  EXPECT_THROW(token_measure("ok", options, model, *text, {64, 10, 200, world}), Error) << "two tokens";
}

TEST(ModelJudge, QuestionsAreFilledInOnce) {
  Constraints constraints;
  constraints.answer = "42";
  const std::vector<Message> talk = {{"user", "{response}"}, {"assistant", "b"}, {"user", "c"}};
  EXPECT_EQ(
      filled_question("{prompt}\\n{response} {answer} {other}", {&talk, "{prompt}\\n", true, 1, {}, {}, &constraints}),
      "user: {response}\n\nassistant: b\n\nuser: c\n{prompt}\\n 42 {other}");
  EXPECT_EQ(filled_question("{prompt}", {&kPrompt, "", true, 1, {}, {}}), "why?");
}

TEST(ScoreJudge, MeasuresTheCalibratedProbability) {
  const Communicator world = Communicator::world();
  RewardModel reward{Llama(tiny_config(1), 5, at::kCPU), byte_text(world), {"safety", "pairwise", 0.5, 2, -1}};
  const auto responses = answers(7);
  const auto values = score_measure("style", reward, {64, 10, 200, world})(responses);
  std::vector<TokenIds> documents;
  for (const auto& response : responses) {
    TokenIds document = reward.text->chat.prompt(kPrompt), answer = reward.text->chat.response(response.text);
    document.insert(document.end(), answer.begin(), answer.end());
    documents.push_back(document);
  }
  const auto scores = score_documents(reward.model, documents, 1000, Communicator::self(), "test");
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(values[i].value(), 1 / (1 + std::exp(-(2 * (scores[i] + 0.5) - 1))), 1e-6);
}

TEST(JudgeModels, OneFolderCountsOnce) {
  const Communicator world = Communicator::world();
  const std::string folder =
      world.broadcast((fs::temp_directory_path() / ("rluf_judge_model_" + std::to_string(getpid()))).string(), 0);
  if (world.rank() == 0) {
    write_byte_tokenizer(folder + "_text");
    Llama(tiny_config(), 3, at::kCPU).save(folder, folder + "_text/tokenizer.json");
    fs::remove_all(folder + "_text");
  }
  world.barrier();
  JudgeOptions options{.names = {"harm"}, .named = {{"harm", {.kind = "model", .model = folder}}}};
  const std::int64_t one = judge_memory_bytes(options);
  EXPECT_GT(one, 0);
  options.named["facts"] = {.kind = "model", .model = folder + "/."};
  EXPECT_EQ(judge_memory_bytes(options), one) << "one that does not judge is not loaded";
  options.names.push_back("facts");
  EXPECT_EQ(judge_memory_bytes(options), one) << "the same folder, written in another way";
  options.named["program"] = {.kind = "external", .command = "true"};
  options.names.push_back("program");
  EXPECT_EQ(judge_memory_bytes(options), one);
  world.barrier();
  if (world.rank() == 0) fs::remove_all(folder);
}

TEST(ThresholdJudge, WhatIsNoNumberFails) {
  const std::vector<std::optional<double>> values = {0.5, 0.49999, std::nan(""), {}};
  const ThresholdJudge judge("score", 0.5, [&](const auto&) { return values; });
  EXPECT_EQ(judge.verdicts(answers(4)),
            (std::vector{Verdict::kSatisfied, Verdict::kViolated, Verdict::kFailed, Verdict::kFailed}));
  EXPECT_DOUBLE_EQ(satisfied_share(std::log(0.3), std::log(0.1)), 0.75);
  EXPECT_EQ(satisfied_share(-1e9, 0), 0.0);
  EXPECT_EQ(satisfied_share(0, -1e9), 1.0);
}

TEST(FittedThreshold, KeepsTheRateOfFalseAlarms) {  // a simulation with a known truth: uniform scores
  RandomStream random(1, Purpose::kSimulation);
  for (const auto& [n, rate] : {std::pair{19, 0.05}, {40, 0.1}, {333, 0.02}}) {
    double below = 0, square = 0;
    const int trials = 4000;
    for (int trial = 0; trial < trials; ++trial) {
      std::vector<double> good;
      for (int i = 0; i < n; ++i) good.push_back(random.uniform());
      const double threshold = fitted_threshold(good, rate).value();  // the chance that a new uniform one is below
      below += threshold / trials;
      square += threshold * threshold / trials;
    }
    const double error = std::sqrt((square - below * below) / trials);
    EXPECT_NEAR(below, std::floor(rate * (n + 1) + 1e-9) / (n + 1), 4 * error);
    EXPECT_LE(below, rate + 4 * error);
  }
  EXPECT_FALSE(fitted_threshold(std::vector<double>(18, 0.5), 0.05).has_value()) << "too few";
  EXPECT_FALSE(fitted_threshold({}, 0.5).has_value());
  EXPECT_EQ(fitted_threshold(std::vector<double>{3, 1, 2}, 0.5), 2.0);
}

}  // namespace
}  // namespace rluf
