// The whole stage on models that were never trained, in a tiny simulated world.
#include "rluf/pipeline/validation/validate.hpp"

#include <cmath>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "stage_test.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

class ValidateTest : public StageTest {
 protected:
  void SetUp() override {
    run_.simulate = true;
    SimulationOptions simulation = tiny_world();
    simulation.rows = simulation.users = simulation.prompts = 60;
    simulation.love_rate = 0.2;
    simulate(simulation);
    data_.prompts = folder_ + "/world/prompts.jsonl.gz";
    data_.max_tokens = 96;
    data_.holdout_share = 0.3;
    model_.base = folder_ + "/world/base";
    policy_.love_weights = {0.0, 0.3};
    policy_.max_new_tokens = 12;
    options_.samples_per_prompt = 2;
    options_.bootstrap_replicates = 40;
    options_.batching.prompts_per_batch = 8;
    options_.ab_responses_per_user = 3;
    with_context([&](const StageContext& context) { run_dataset(data_, context); });
    if (world_.rank() == 0) make_models();
    world_.barrier();
  }
  void make_models() const {
    const std::string tokenizer = model_.base + "/tokenizer.json";
    const LlamaConfig config = Llama::load(model_.base, at::kCPU).config();
    std::uint64_t seed = 10;
    for (const char* name : {"reference", "policy_w0.0", "policy_w0.3"})
      Llama(config, ++seed, at::kCPU).save(folder_ + "/models/" + name, tokenizer);
    for (const char* name : {"love", "helpfulness", "safety"}) {
      const bool love = std::string(name) == "love";
      const RewardModel reward{
          .model = Llama::load(model_.base, at::kCPU, 1, ++seed),
          .text = load_model_text(model_.base, model_),
          .calibration = {
              .objective = name, .kind = love ? "binary" : "pairwise", .prior_correction = love ? -1.0 : 0.0}};
      reward.save(folder_ + "/models/" + name, "float32");
    }
  }
  Json validate(const std::string& folder, const Communicator& comm) const {
    Json table;
    with_context(folder, comm, [&](const StageContext& context) {
      run_validate(options_, policy_, {}, data_, context);
      comm.barrier();
      table = context.directory.read_table("validation");
    });
    return table;
  }

  DataOptions data_;
  PolicyOptions policy_;
  ValidationOptions options_;
};

/// Where two tables differ by more than the last digits of scores.
void expect_same(const Json& a, const Json& b, const std::string& where) {
  ASSERT_EQ(a.is_structured(), b.is_structured()) << where;
  if (a.is_number() && b.is_number()) {
    EXPECT_NEAR(a.get<double>(), b.get<double>(), 1e-6 * std::max(1.0, std::abs(b.get<double>()))) << where;
  } else if (a.is_structured()) {
    ASSERT_EQ(a.size(), b.size()) << where;
    for (const auto& [key, value] : a.items()) {
      if (a.is_object()) {
        ASSERT_TRUE(b.contains(key)) << where << "." << key;
      }
      expect_same(value, a.is_object() ? b.at(key) : b.at(std::stoul(key)), where + "." + key);
    }
  } else {
    EXPECT_EQ(a, b) << where;
  }
}

TEST_F(ValidateTest, ManyRanksSayWhatOneSays) {
  const Json together = validate(folder_, world_);
  // Every rank again by itself, in a folder of its own with the same models, data and world.
  const std::string alone = folder_ + "/alone" + std::to_string(world_.rank());
  fs::create_directories(alone);
  for (const char* part : {"models", "data", "world"})
    fs::create_directory_symlink(folder_ + "/" + part, alone + "/" + part);
  expect_same(together, validate(alone, Communicator::self()), "");
}

TEST_F(ValidateTest, TableHoldsEveryArmAndComparison) {
  const Json table = validate(folder_, world_);
  ASSERT_EQ(table.at("arms").size(), 3U);
  EXPECT_GT(table.at("prompts"), 5);
  EXPECT_EQ(table.at("arms")[0].at("name"), "reference");
  EXPECT_TRUE(table.at("arms")[0].at("love_weight").is_null());
  EXPECT_EQ(table.at("arms")[0].at("helpfulness_reward").at("value"), 0.5);  // against itself
  EXPECT_FALSE(table.at("arms")[0].contains("kl"));
  for (const char* key : {"love_probability", "love_reward", "safety_reward", "closing_rate", "length_tokens", "kl",
                          "true_love_rate", "true_helpfulness", "true_safety"}) {
    EXPECT_TRUE(table.at("arms")[2].at(key).contains("low")) << key;
    EXPECT_LE(table.at("arms")[2].at(key).at("low"), table.at("arms")[2].at(key).at("high")) << key;
  }
  ASSERT_EQ(table.at("differences").size(), 3U);
  const Json& last = table.at("differences")[2];
  EXPECT_EQ(last.at("name"), "policy_w0.3");
  EXPECT_EQ(last.at("to"), "policy_w0.0");
  EXPECT_NEAR(
      last.at("kl").at("value").get<double>(),
      table.at("arms")[2].at("kl").at("value").get<double>() - table.at("arms")[1].at("kl").at("value").get<double>(),
      1e-9);
  const double after = table.at("arms")[2].at("true_love_rate").at("value"),
               before = table.at("arms")[1].at("true_love_rate").at("value");
  EXPECT_NEAR(last.at("true_love_rate_lift").at("value").get<double>(), after / before - 1, 1e-9);
  EXPECT_LE(last.at("true_love_rate_lift").at("low"), last.at("true_love_rate_lift").at("high"));
  const Json& ab = table.at("ab");
  double users = 0, responses = 0;
  for (const Json& arm : ab.at("arms")) {
    users += arm.at("users").get<double>();
    responses += arm.at("responses").get<double>();
    const double chance = arm.at("expected_love_rate").at("value");
    EXPECT_GT(chance, 0);
    EXPECT_NEAR(arm.at("love_rate").at("value").get<double>(), chance,
                5 * std::sqrt(chance / arm.at("responses").get<double>()));
  }
  EXPECT_EQ(users, 60);
  EXPECT_EQ(users, ab.at("users").get<double>());
  EXPECT_EQ(responses, ab.at("responses").get<double>());
  EXPECT_EQ(table.at("offline_online").at("love_rate").at("n"), 3);
}

TEST_F(ValidateTest, WithoutAWorldThereIsNoABTest) {
  run_.simulate = false;
  const Json table = validate(folder_, world_);
  EXPECT_TRUE(table.at("ab").is_null());
  EXPECT_TRUE(table.at("offline_online").is_null());
  EXPECT_FALSE(table.at("arms")[1].contains("true_love_rate"));
  EXPECT_TRUE(table.at("arms")[1].contains("love_probability"));
}

TEST_F(ValidateTest, WhatIsMissingIsNamed) {
  policy_.love_weights = {0.0, 0.7};
  try {
    validate(folder_, world_);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("policy_w0.7"), std::string::npos) << error.what();
  }
  policy_.love_weights = {0.0, 0.3};
  options_.ab_users = 2;
  try {
    validate(folder_, world_);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("validate.ab_users"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace rluf
