// Whole reward stages with a tiny Llama on a log with known truth, on any number of ranks.
#include "rluf/pipeline/reward/reward.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>

#include "byte_tokenizer.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/dataset/selection.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// A small Llama whose tokenizer knows single bytes and the marks of chatml.
void write_base(const std::string& folder) {
  const std::int64_t num_ids = write_byte_tokenizer(folder);
  LlamaConfig config;
  config.vocab_size = num_ids;
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_layers = 1;
  config.num_heads = config.num_kv_heads = 2;
  config.head_dim = 8;
  config.eos_token_ids = {static_cast<std::int32_t>(num_ids) - 1};
  Llama(config, 3, at::kCPU).save(folder, folder + "/tokenizer.json");
}

std::string words(RandomStream& random, char letter) {
  std::string text;
  for (int i = 0; i < 12; ++i) text += random.uniform() < 0.6 ? letter : static_cast<char>('0' + random.below(10));
  return text;
}

// A rating of 1 to 4 of a latent that "y" raises by kRise, with logistic noise.
constexpr double kRise = 2.5;
const std::vector<double> kThresholds = {-1, 0.5, 2};

double expected_rating(bool good) {
  double level = 1;
  for (const double threshold : kThresholds) level += logistic((good ? kRise : 0.0) - threshold);
  return level;
}

/// What else is known of a row: whether it was copied (70 % of "y", 20 % of others) of nine in ten, a rating of two in
/// three, turns of the conversation (7 after "y", 3 after others, with a standard deviation of 1), and a constant.
void add_others(Json& line, bool good, int row) {
  RandomStream random(2, Purpose::kSimulation, 1, static_cast<std::uint64_t>(row));
  if (random.uniform() < 0.9) line["signals"]["copy"] = random.uniform() < (good ? 0.7 : 0.2) ? 1 : 0;
  const double latent = (good ? kRise : 0.0) + log_odds(random.uniform());
  const auto above = std::count_if(kThresholds.begin(), kThresholds.end(), [&](double t) { return latent > t; });
  if (random.uniform() < 0.67) line["signals"]["rating"] = 1 + above;
  line["turns"] = (good ? 7 : 3) + random.normal();
  line["constant"] = 5;
}

/// One row in ten says "y" and is loved in 60 % of the cases, the others say "n" and are loved in 0.2 %.
void write_log(const std::string& path) {
  std::string text;
  for (int row = 0; row < 3000; ++row) {
    RandomStream random(2, Purpose::kSimulation, 0, static_cast<std::uint64_t>(row));
    const bool good = random.uniform() < 0.1;
    const int love = random.uniform() < (good ? 0.6 : 0.002) ? 1 : 0;
    Json line{{"interaction_id", "i" + std::to_string(row)},
              {"conversation_id", "c" + std::to_string(row)},
              {"user_id", "u" + std::to_string(random.below(200))},
              {"timestamp", 1700000000 + row},
              {"messages", {{{"role", "user"}, {"content", "q" + std::to_string(row)}}}},
              {"response", words(random, good ? 'y' : 'n')},
              {"signals", {{"love", love}}}};
    add_others(line, good, row);
    text += line.dump() + "\n";
  }
  write_text(path, text);
}

void write_pairs(const std::string& path) {
  std::string text;
  for (int row = 0; row < 300; ++row) {
    RandomStream random(3, Purpose::kSimulation, 0, static_cast<std::uint64_t>(row));
    text += Json{{"prompt", {{{"role", "user"}, {"content", "q" + std::to_string(row)}}}},
                 {"chosen", words(random, 'y')},
                 {"rejected", words(random, 'n')},
                 {"margin", random.uniform()}}
                .dump() +
            "\n";
  }
  write_text(path, text);
}

class RewardTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = world_.broadcast((fs::temp_directory_path() / ("rluf_reward_" + std::to_string(getpid()))).string(), 0);
    if (world_.rank() == 0) {
      write_base(folder_ + "/base");
      write_log(folder_ + "/log.jsonl");
      write_pairs(folder_ + "/pairs.jsonl");
    }
    world_.barrier();
    model_.base = folder_ + "/base";
    data_.interactions = folder_ + "/log.jsonl";
    data_.helpfulness_pairs = folder_ + "/pairs.jsonl";
    data_.positive_rate = 0.3;
    data_.holdout_share = 0.3;
    for (ObjectiveOptions* objective : {&options_.love, &options_.helpfulness}) {
      objective->train.learning_rate = 1e-2;
      objective->train.global_batch = 32;
      objective->train.micro_batch_tokens = 512;
      objective->train.epochs = 6;
    }
    options_.helpfulness.margin = 0.5;
    options_.bootstrap_replicates = 60;
  }
  void TearDown() override {
    world_.barrier();
    if (world_.rank() == 0) fs::remove_all(folder_);
  }
  /// The stage in a run directory of its own. @return its tables by objective
  std::map<std::string, Json> run(const std::string& name, const Communicator& comm) {
    const ProcessGrid grid{comm, comm, Communicator::self(), Communicator::self(), comm};
    const RunDirectory directory(folder_ + "/" + name, comm);
    const RunOptions run;
    const StageContext context{run, model_, directory, grid, at::Device(at::kCPU)};
    run_dataset(data_, context);
    run_reward(options_, data_, context);
    comm.barrier();
    std::map<std::string, Json> tables;
    for (const char* objective : {"love", "helpfulness"})
      if (directory.has_table(std::string("reward_") + objective))
        tables[objective] = directory.read_table(std::string("reward_") + objective);
    return tables;
  }
  static double value(const Json& table, const char* metric) {
    return table.at("metrics").at(metric).at("value").get<double>();
  }

  Communicator world_ = Communicator::world();
  std::string folder_;
  ModelOptions model_;
  DataOptions data_;
  RewardOptions options_;
};

TEST_F(RewardTest, LearnsLoveAndGivesTheNaturalRateBack) {
  auto tables = run("together", world_);
  ASSERT_TRUE(tables.contains("love") && tables.contains("helpfulness"));
  const Json& love = tables["love"];
  EXPECT_GT(value(love, "auroc"), 0.9);
  EXPECT_NEAR(love.at("training_rate").get<double>(), 0.3, 0.01);
  // Invariant 8: the mean corrected probability is the natural rate, the raw one is far from it.
  const double rate = love.at("held_out_rate").get<double>();
  EXPECT_NEAR(love.at("mean_corrected_probability").get<double>(), rate, 0.3 * rate);
  EXPECT_LT(value(love, "ece_corrected"), 0.5 * value(love, "ece_raw"));
  EXPECT_LT(love.at("metrics").at("auroc").at("low").get<double>(), value(love, "auroc"));
  EXPECT_GT(value(tables["helpfulness"], "pair_accuracy"), 0.95);

  // The saved folder says the same: y is loved more than n, and probabilities are those of the table's scale.
  const RewardModel reward = RewardModel::load(folder_ + "/together/models/love", model_, at::kCPU);
  EXPECT_EQ(reward.calibration.kind, "binary");
  EXPECT_NEAR(reward.calibration.prior_correction, love.at("prior_correction").get<double>(), 1e-12);
  std::vector<Document> documents;
  for (const char* response : {"yyy1yyy2yyy3", "nnn1nnn2nnn3"})
    documents.push_back(render_document({{"user", "q1"}}, response, *reward.text, 10, 256).document);
  const auto scores = reward.scores(documents, 512, world_, "test").raw;
  EXPECT_GT(calibrated_probability(scores[0], reward.calibration), 0.3);
  EXPECT_LT(calibrated_probability(scores[1], reward.calibration), 0.03);

  // The same on one rank, bit for bit.
  const auto alone = run("alone" + std::to_string(world_.rank()), Communicator::self());
  for (const auto& [objective, table] : alone) {
    const double loss = tables[objective].at("final_training_metrics").at("loss").get<double>();
    EXPECT_EQ(table.at("final_training_metrics").at("loss").get<double>(), loss);
  }
  EXPECT_EQ(alone.at("love").at("metrics"), love.at("metrics"));
}

TEST_F(RewardTest, CalibrationsAreFittedOnRowsThatWereNotTrainedOn) {
  data_.helpfulness_pairs = "";
  options_.love.train.epochs = 3;
  for (const char* kind : {"temperature", "platt", "isotonic"}) {
    options_.love.calibrate = kind;
    const Json love = run(kind, world_).at("love");
    const double fitted = love.at("calibration").at("fitted_examples"), trained = love.at("training_examples");
    EXPECT_NEAR(fitted / (fitted + trained), 0.1, 0.01);
    const bool has_steps = std::string(kind) == "isotonic";
    EXPECT_EQ(love.at("calibration").at("scale").get<double>() == 1, has_steps) << kind;
    EXPECT_EQ(love.at("calibration").at("shift").get<double>() != 0, std::string(kind) == "platt");
    EXPECT_EQ(love.at("calibration").at("logits").empty(), !has_steps);
    const double rate = love.at("held_out_rate").get<double>();
    EXPECT_NEAR(love.at("mean_corrected_probability").get<double>(), rate, 0.4 * rate) << kind;
    // The folder knows it all.
    const RewardModel reward = RewardModel::load(folder_ + "/" + kind + "/models/love", model_, at::kCPU);
    EXPECT_EQ(Json(reward.calibration.logits), love.at("calibration").at("logits"));
    EXPECT_EQ(reward.calibration.scale, love.at("calibration").at("scale").get<double>());
  }
}

TEST_F(RewardTest, HeadsLearnFromResamplesAndLengthIsTakenOff) {
  options_.love.heads = options_.helpfulness.heads = 3;
  options_.love.heads_score = "lower";
  options_.love.length_bias = options_.helpfulness.length_bias = "residual";
  options_.love.positive_weight = 0;
  const auto tables = run("heads", world_);
  const Json& love = tables.at("love");
  EXPECT_GT(value(love, "auroc"), 0.9);
  EXPECT_GT(value(love, "mean_disagreement"), 0);
  EXPECT_GT(love.at("positive_weight").get<double>(), 1.5);  // 0.7 to 0.3
  EXPECT_GT(value(tables.at("helpfulness"), "pair_accuracy"), 0.95);
  for (const auto& [objective, table] : tables) EXPECT_EQ(table.at("length").at("bias"), "residual") << objective;
  const RewardModel reward = RewardModel::load(folder_ + "/heads/models/love", model_, at::kCPU);
  EXPECT_EQ(reward.model.config().num_scores, 3);
  EXPECT_EQ(reward.calibration.heads, "lower");
  const Document document = render_document({{"user", "q1"}}, "yyy1yyy2yyy3", *reward.text, 10, 256).document;
  EXPECT_GT(reward.scores({document}, 512, world_, "test").disagreement.at(0), 0);
  // The same on one rank, bit for bit.
  const auto alone = run("heads_alone" + std::to_string(world_.rank()), Communicator::self());
  EXPECT_EQ(alone.at("love").at("metrics"), love.at("metrics"));
  EXPECT_EQ(alone.at("love").at("slices"), love.at("slices"));
}

TEST_F(RewardTest, OtherHeadsLearnWhatTheLogSays) {
  data_.helpfulness_pairs = "";
  options_.love.also = {"copy", "rating:ordinal:4", "turns:regression"};
  options_.love.also_weight = 1;
  options_.love.train.epochs = 12;
  const Json love = run("also", world_).at("love");
  EXPECT_GT(value(love, "auroc"), 0.9);
  const Json& heads = love.at("also");
  ASSERT_EQ(heads.size(), 3u);
  for (const Json& head : heads) {
    const int with = head.at("training_rows"), without = head.at("training_rows_without");
    EXPECT_EQ(with + without, love.at("training_examples").get<int>());
    EXPECT_EQ(head.at("held_out_rows").get<int>() + head.at("held_out_rows_without").get<int>(),
              love.at("held_out_examples").get<int>());
    const double share = head.at("name") == "copy" ? 0.9 : head.at("name") == "rating" ? 0.67 : 1.0;
    EXPECT_NEAR(with / static_cast<double>(with + without), share, 0.06) << head.at("name");
    for (const auto& [name, figure] : head.at("metrics").items())
      EXPECT_LT(figure.at("low").get<double>(), figure.at("high").get<double>()) << head.at("name") << name;
  }
  // One row in ten differs from the others: knowing all of it gives an AUROC of 0.62 and 1.44 / 2.44 of the variance.
  EXPECT_GT(value(heads[0], "auroc"), 0.55);
  EXPECT_GT(value(heads[1], "quadratic_kappa"), 0.1);
  EXPECT_GT(value(heads[2], "r_squared"), 0.45);
  EXPECT_GT(value(heads[2], "rank_correlation"), 0.25);
  const auto thresholds = heads[1].at("thresholds").get<std::vector<double>>();
  EXPECT_TRUE(std::is_sorted(thresholds.begin(), thresholds.end()));

  // The folder is that of a model with one head, and knows the others.
  const std::string folder = folder_ + "/also/models/love";
  EXPECT_EQ(LlamaConfig::from_folder(folder).num_scores, 1);
  const RewardModel reward = RewardModel::load(folder, model_, at::kCPU);
  ASSERT_EQ(reward.also.size(), 3u);
  EXPECT_EQ(reward.also[1].thresholds, thresholds);
  std::vector<Document> documents;
  for (int i = 0; i < 40; ++i) {
    RandomStream random(5, Purpose::kSimulation, 0, static_cast<std::uint64_t>(i));
    documents.push_back(
        render_document({{"user", "q1"}}, words(random, i < 20 ? 'y' : 'n'), *reward.text, 10, 256).document);
  }
  const RewardScores scores = reward.scores(documents, 512, world_, "test");
  for (const bool good : {true, false}) {
    const auto mean = [&](std::size_t head) {
      const double* first = scores.also[head].data() + (good ? 0 : 20);
      return std::accumulate(first, first + 20, 0.0) / 20;
    };
    EXPECT_NEAR(mean(0), good ? 0.7 : 0.2, 0.12);
    EXPECT_NEAR(mean(1), expected_rating(good), 0.3);
    EXPECT_NEAR(mean(2), good ? 7 : 3, 0.6);
  }
  // An export keeps them, and other programs' scores of love are ours.
  if (world_.rank() == 0) {
    reward.save(folder_ + "/exported", "float32");
    const RewardModel again = RewardModel::load(folder_ + "/exported", model_, at::kCPU);
    EXPECT_EQ(again.scores(documents, 512, Communicator::self(), "test").also, scores.also);
    const Llama plain = Llama::load(folder_ + "/exported", at::kCPU);
    const PackedBatch batch = PackedBatch::from({documents[0].tokens}, at::kCPU);
    EXPECT_NEAR(plain.scores(plain.hidden(batch), batch).item<double>(), scores.raw[0], 1e-5);
  }
  // The same on one rank, bit for bit.
  const Json alone = run("also_alone" + std::to_string(world_.rank()), Communicator::self()).at("love");
  EXPECT_EQ(alone.at("metrics"), love.at("metrics"));
  EXPECT_EQ(alone.at("also"), heads);
}

TEST_F(RewardTest, OtherHeadsNeedLabelsOfTheLog) {
  data_.helpfulness_pairs = "";
  const auto refused = [&](const std::string& also, ExitCode code) -> std::string {
    options_.love.also = {also};
    try {
      run("refused", world_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error for " << also;
    return "";
  };
  EXPECT_NE(refused("raiting:ordinal:4", ExitCode::kBadInput).find("did you mean rating?"), std::string::npos);
  EXPECT_NE(refused("rating:ordinal:3", ExitCode::kBadData).find("levels are 1 to 3"), std::string::npos);
  EXPECT_NE(refused("constant:regression", ExitCode::kBadData).find("1 different values"), std::string::npos);
  options_.love.also = {"copy", "love"};
  EXPECT_THROW(options_.love.check_also("love"), Error);
  EXPECT_NO_THROW(options_.love.check_also("thumbs_up"));
}

TEST_F(RewardTest, SlicesHoldTheWholeHoldOut) {
  data_.helpfulness_pairs = "";
  options_.love.train.epochs = 1;
  const Json love = run("slices", world_).at("love");
  std::map<std::string, int> examples;
  for (const Json& slice : love.at("slices")) examples[slice.at("by")] += slice.at("examples").get<int>();
  ASSERT_EQ(examples.size(), 5u);
  const int all = love.at("held_out_examples");
  for (const auto& [by, count] : examples)
    EXPECT_TRUE(by == "signal" ? count >= all : count == all) << by;  // a row may have several signals
  EXPECT_TRUE(love.at("drift").at("auroc_change").contains("low"));
}

TEST_F(RewardTest, AWantedObjectiveWithoutDataIsAnError) {
  data_.helpfulness_pairs = "";
  options_.objective = "helpfulness";
  try {
    run("bad", world_);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("helpfulness.h5"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace rluf
