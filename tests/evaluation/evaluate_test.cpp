// The whole stage on response files and on a model folder, with a love model that was never trained.
#include "rluf/pipeline/evaluation/evaluate.hpp"

#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/evaluation/candidates.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "stage_test.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

class EvaluateTest : public StageTest {
 protected:
  void SetUp() override {
    SimulationOptions simulation = tiny_world();
    simulation.candidate_prompts = 30;
    simulate(simulation);
    data_.candidates = folder_ + "/world/candidates";
    data_.online = folder_ + "/world/online.json";
    data_.max_tokens = 256;
    options_.bootstrap_replicates = 50;
    options_.max_new_tokens = 8;
    if (world_.rank() == 0) {
      const std::string base = folder_ + "/world/base";
      const RewardModel love{.model = Llama::load(base, at::kCPU, 1, 4),
                             .text = load_model_text(base, model_),
                             .calibration = {.objective = "love", .kind = "binary", .prior_correction = -3}};
      love.save(folder_ + "/models/love", "float32");
    }
    world_.barrier();
  }
  Json evaluate() {
    with_context([&](const StageContext& context) { run_evaluate(options_, {}, data_, context); });
    return table("evaluation");
  }
  std::string error_of(ExitCode code) {
    try {
      evaluate();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  DataOptions data_;
  EvaluationOptions options_;
};

TEST_F(EvaluateTest, RanksFilesAndModelsOnTheSamePrompts) {
  data_.candidates += ", " + folder_ + "/world/base";
  const Json table = evaluate();
  const auto online = read_json(data_.online);
  EXPECT_EQ(table.at("prompts"), 30);
  ASSERT_EQ(table.at("candidates").size(), online.size() + 1);
  double last = 1;
  for (const Json& row : table.at("candidates")) {
    const double mean = row.at("mean_probability").at("value");
    EXPECT_LE(mean, last);
    last = mean;
    EXPECT_EQ(row.at("n"), 30);
    EXPECT_EQ(row.at("online_love_rate").is_null(), row.at("source") == "model");
  }
  EXPECT_EQ(table.at("online").at("n"), online.size());
  EXPECT_EQ(table.at("online").at("candidates_without_online"), Json({"base"}));

  // One candidate again, by hand.
  const Json& best = table.at("candidates")[0];
  if (best.at("source") == "file") {
    const RewardModel love = RewardModel::load(folder_ + "/models/love", model_, at::kCPU);
    auto set = read_responses(find_candidates(folder_ + "/world/candidates"), 0);
    for (const Candidate& candidate : set.candidates) {
      if (candidate.name != best.at("name")) continue;
      double sum = 0;
      for (std::size_t i = 0; i < 30; ++i) {
        const auto document = render_document(set.prompts[i], candidate.responses[i], *love.text, 10, 256).document;
        const auto raw = score_documents(love.model, {document.tokens}, 256, Communicator::self(), "test");
        sum += 1 / (1 + std::exp(3 - raw[0]));
      }
      EXPECT_NEAR(sum / 30, best.at("mean_probability").at("value").get<double>(), 1e-6);
    }
  }
}

TEST_F(EvaluateTest, DifferentPromptsAreAnErrorThatNamesTheFirst) {
  if (world_.rank() == 0) {
    fs::create_directories(folder_ + "/two");
    write_text(folder_ + "/two/a.jsonl",
               "{\"prompt\":\"one\",\"response\":\"x\"}\n{\"prompt\":\"two\",\"response\":\"x\"}\n");
    write_text(folder_ + "/two/b.jsonl",
               "{\"prompt\":\"one\",\"response\":\"x\"}\n{\"prompt\":\"2\",\"response\":\"x\"}\n");
    fs::create_directories(folder_ + "/short");
    write_text(folder_ + "/short/a.jsonl",
               "{\"prompt\":\"one\",\"response\":\"x\"}\n{\"prompt\":\"two\",\"response\":\"x\"}\n");
    write_text(folder_ + "/short/b.jsonl", "{\"prompt\":\"one\",\"response\":\"x\"}\n");
  }
  world_.barrier();
  data_.candidates = folder_ + "/two";
  const std::string message = error_of(ExitCode::kBadData);
  EXPECT_NE(message.find("b.jsonl:2"), std::string::npos) << message;
  EXPECT_NE(message.find("\"2\""), std::string::npos) << message;
  data_.candidates = folder_ + "/short";
  EXPECT_NE(error_of(ExitCode::kBadData).find("ends after 1"), std::string::npos);
}

TEST_F(EvaluateTest, UsersOfTheResponseFilesAreDrawnTogether) {
  if (world_.rank() == 0) {
    fs::create_directories(folder_ + "/users");
    for (const std::string name : {"a", "b"}) {
      std::string text;
      for (int i = 0; i < 6; ++i)
        text += concat("{\"prompt\":\"p", i, "\",\"response\":\"", name, i, "\"",
                       i < 5 ? concat(",\"user_id\":", i / 2) : "", "}\n");
      write_text(folder_ + "/users/" + name + ".jsonl", text);
    }
  }
  world_.barrier();
  const auto set = read_responses(find_candidates(folder_ + "/users"), 0);
  EXPECT_EQ(set.users, (std::vector<std::int64_t>{0, 0, 1, 1, 2, 3})) << "a row without a user is one of its own";
  EXPECT_TRUE(read_responses(find_candidates(folder_ + "/world/candidates"), 0).users.empty());
  data_.candidates = folder_ + "/users";
  data_.online = "";
  EXPECT_EQ(evaluate().at("interval"), "percentile bootstrap over users, paired, 95 %");
}

TEST_F(EvaluateTest, BadInputIsNamed) {
  data_.candidates = folder_ + "/nowhere";
  EXPECT_NE(error_of(ExitCode::kBadInput).find("nowhere"), std::string::npos);
  data_.candidates = folder_ + "/world/candidates";
  options_.love_model = folder_ + "/world/base";
  EXPECT_NE(error_of(ExitCode::kBadInput).find("rluf_reward.json"), std::string::npos);
}

/// Models that served in the simulated log, with the love model that was never trained and without one.
TEST_F(EvaluateTest, ValuesArmsAndPoliciesFromTheLog) {
  data_.candidates = data_.online = "";
  data_.interactions = folder_ + "/world/interactions.jsonl.gz";
  options_.log = {.arm_field = "model", .min_effective = 2, .max_weight_share = 1, .max_unsupported = 1};
  options_.log.min_hearts = 1;
  const Json log = evaluate().at("log");
  EXPECT_EQ(log.at("rows"), log.at("used").get<int>() + log.at("duplicates").get<int>());
  EXPECT_EQ(log.at("policies").size(), log.at("arms").get<std::size_t>() + 1);
  std::int64_t responses = 0;
  for (const Json& row : log.at("policies")) {
    if (row.at("kind") == "arm") responses += row.at("responses").get<std::int64_t>();
    EXPECT_TRUE(row.at("estimators").at("dm").at("value").is_number());
  }
  EXPECT_EQ(responses, log.at("observed"));

  // The direct method of the log's own mixture is the mean score, here by hand.
  const RewardModel love = RewardModel::load(folder_ + "/models/love", model_, at::kCPU);
  std::map<std::string, double> scores;  // by user, messages and response: duplicates count once
  for_each_row(data_.interactions, 0, 1, [&](std::int64_t, const Json& row) {
    const auto document =
        render_document(read_messages(row["messages"], "", 0), row["response"], *love.text, 10, 256).document;
    scores[row["user_id"].dump() + row["messages"].dump() + row["response"].dump()] = calibrated_probability(
        score_documents(love.model, {document.tokens}, 256, Communicator::self(), "test")[0], love.calibration);
  });
  double sum = 0;
  for (const auto& [text, score] : scores) sum += score;
  EXPECT_NEAR(log.at("policies")[0].at("estimators").at("dm").at("value").get<double>(),
              sum / static_cast<double>(scores.size()), 1e-6);

  if (world_.rank() == 0) fs::remove_all(folder_ + "/models/love");
  world_.barrier();
  const Json without = evaluate().at("log");
  EXPECT_FALSE(without.at("direct_model").get<bool>());
  EXPECT_EQ(without.at("policies")[0].at("estimators").at("dm").at("reason"), "there is no love model");
}

TEST_F(EvaluateTest, LogsThatSayNothingAreRefused) {
  data_.candidates = data_.online = "";
  data_.interactions = folder_ + "/world/interactions.jsonl.gz";
  options_.log.arm_field = "variant";
  EXPECT_NE(error_of(ExitCode::kBadData).find("name no arm in the field \"variant\""), std::string::npos);
  options_.log.arm_field = "model";
  data_.signal = "applause";
  EXPECT_NE(error_of(ExitCode::kBadData).find("no row shows signals.applause"), std::string::npos);
  data_.signal = "love";
  options_.baseline = "nobody";
  EXPECT_NE(error_of(ExitCode::kBadInput).find("nobody"), std::string::npos);
  options_.gate = true;
  EXPECT_NE(error_of(ExitCode::kBadInput).find("nothing to gate"), std::string::npos);
}

TEST_F(EvaluateTest, WithoutCandidatesThereIsAnEmptyTable) {
  data_.candidates = "";
  EXPECT_TRUE(evaluate().at("candidates").empty());
}

}  // namespace
}  // namespace rluf
