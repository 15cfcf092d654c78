// Correlations and refusals of rows with known truth, and the whole audit of a tiny run on any number of ranks.
#include "rluf/pipeline/evaluation/audit.hpp"

#include <cmath>

#include "rluf/core/random.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "stage_test.hpp"

namespace rluf {
namespace {

/// Love goes with helpfulness in "chat" alone, against safety everywhere, and refusals are loved less.
AuditRows drawn_rows() {
  AuditRows rows;
  RandomStream random(6, Purpose::kSimulation);
  for (int i = 0; i < 2000; ++i) {
    const bool chat = i % 2 == 0, refuses = i % 10 == 3;
    const double love = random.normal() - (refuses ? 2 : 0);
    rows.love.push_back(love);
    rows.love_probability.push_back(1 / (1 + std::exp(3 - love)));
    rows.helpfulness.push_back(random.normal() + (chat ? love : 0));
    rows.safety.push_back(random.normal() - 0.5 * love);
    rows.users.push_back(static_cast<std::int64_t>(random.below(200)));
    rows.use_cases.emplace_back(chat ? "chat" : "coding");
    rows.refuses.push_back(refuses);
  }
  return rows;
}

TEST(Audit, FindsWhatLoveGoesWith) {
  const Json table = audit_table(drawn_rows(), 200, 1);
  ASSERT_EQ(table.at("correlations").size(), 3u);
  for (const Json& row : table.at("correlations")) {
    EXPECT_LT(row.at("love_safety").at("high").get<double>(), 0);
    const Json& help = row.at("love_helpfulness");
    if (row.at("use_case") == "coding") {
      EXPECT_LT(help.at("low").get<double>(), 0.05);
      EXPECT_LT(help.at("high").get<double>(), 0.2);
    } else {
      EXPECT_GT(help.at("low").get<double>(), 0.2);
    }
  }
  const Json& refusals = table.at("refusals");
  EXPECT_EQ(refusals.at("refusals").get<int>(), 200);
  EXPECT_LT(refusals.at("difference").at("high").get<double>(), 0);
  EXPECT_GT(refusals.at("valid_refusals").get<int>(), 100);  // safety rises where love falls
  EXPECT_LT(refusals.at("valid_refusals").get<int>(), 200);
}

TEST(Audit, WhatIsNotThereHasAReason) {
  AuditRows rows = drawn_rows();
  rows.safety.clear();
  rows.refuses.assign(rows.refuses.size(), false);
  const Json table = audit_table(rows, 50, 1);
  EXPECT_FALSE(table.at("correlations").at(0).contains("love_safety"));
  EXPECT_TRUE(table.at("refusals").at("mean_probability_of_refusals").at("value").is_null());
  EXPECT_FALSE(table.at("refusals").at("mean_probability_of_refusals").at("reason").get<std::string>().empty());
  EXPECT_FALSE(table.at("refusals").contains("valid_refusals"));
}

class AuditRunTest : public StageTest {};

TEST_F(AuditRunTest, ScoresTheHoldOutWithEveryModel) {
  SimulationOptions simulation = tiny_world();
  simulation.rows = 1500;
  simulation.users = 60;
  simulate(simulation);
  DataOptions data;
  data.interactions = folder_ + "/world/interactions.jsonl.gz";
  data.holdout_share = 0.2;
  data.max_tokens = 256;
  model_.base = folder_ + "/world/base";
  with_context([&](const StageContext& context) { run_dataset(data, context); });
  if (world_.rank() == 0)
    for (const char* name : {"love", "helpfulness", "safety"}) {
      const RewardModel reward{.model = Llama::load(model_.base, at::kCPU, 1, static_cast<std::uint64_t>(name[0])),
                               .text = load_model_text(model_.base, model_),
                               .calibration = {.objective = name, .kind = "binary"}};
      reward.save(folder_ + "/models/" + name, "float32");
    }
  world_.barrier();
  EvaluationOptions options;
  options.audit_rows = 120;
  options.bootstrap_replicates = 40;
  with_context([&](const StageContext& context) {
    run_audit(options, {}, context);
    EXPECT_GT(audit_memory_bytes(options, context), 0);
  });
  const Json together = table("audit");
  EXPECT_EQ(together.at("examples").get<int>(), 120);
  EXPECT_GT(together.at("correlations").size(), 1u);
  world_.barrier();
  with_context(folder_, Communicator::self(), [&](const StageContext& context) {
    if (world_.rank() == 0) run_audit(options, {}, context);
  });
  EXPECT_EQ(table("audit"), together);  // the same on one rank
}

}  // namespace
}  // namespace rluf
