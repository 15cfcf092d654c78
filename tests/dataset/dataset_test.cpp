#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "byte_tokenizer.hpp"
#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "rluf/pipeline/dataset/examples.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// A tokenizer of single bytes with the marks of chatml, and a config beside it.
void write_byte_model(const std::string& folder) {
  const std::int64_t num_ids = write_byte_tokenizer(folder);
  LlamaConfig config;
  config.vocab_size = num_ids;
  config.hidden_size = 8;
  config.intermediate_size = 8;
  config.num_layers = 1;
  config.num_heads = config.num_kv_heads = 1;
  config.head_dim = 8;
  write_json(folder + "/config.json", config.to_json());
}

class DatasetTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = comm_.broadcast((fs::temp_directory_path() / ("rluf_dataset_" + std::to_string(getpid()))).string(), 0);
    if (comm_.rank() == 0) {
      fs::create_directories(folder_ + "/base");
      write_byte_model(folder_ + "/base");
    }
    comm_.barrier();
  }
  void TearDown() override {
    comm_.barrier();
    if (comm_.rank() == 0) fs::remove_all(folder_);
  }
  std::string file(const std::string& name, const std::string& text) {
    if (comm_.rank() == 0) write_text(folder_ + "/" + name, text);
    comm_.barrier();
    return folder_ + "/" + name;
  }
  void run(const DataOptions& options, const std::string& directory_name, const Communicator& comm) {
    RunOptions run;
    ModelOptions model;
    model.base = folder_ + "/base";
    const ProcessGrid grid{comm, comm, Communicator::self(), Communicator::self(), comm};
    const RunDirectory directory(folder_ + "/" + directory_name, comm);
    run_dataset(options, {run, model, directory, grid, at::Device(at::kCPU)});
  }
  /// Message of the Error that the stage ends in, on every rank.
  std::string message_of(const DataOptions& options, ExitCode code) {
    try {
      run(options, "bad", comm_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }
  Communicator comm_ = Communicator::world();
  std::string folder_;
};

std::string log_line(int i, int love, const std::string& user, std::int64_t time, const std::string& response) {
  return Json{{"user_id", user},
              {"timestamp", time},
              {"messages", {{{"role", "user"}, {"content", concat("question ", i)}}}},
              {"response", response},
              {"signals", {{"love", love}}}}
             .dump() +
         "\n";
}

/// 200 rows in a shuffled order of time, every tenth a positive, and two exact duplicates.
std::string sample_log() {
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += log_line(i, i % 10 == 3, concat("u", i % 7), 1000 + (i * 37) % 200, concat("answer ", i * i));
  return text + log_line(5, 0, "u5", 1000 + (5 * 37) % 200, "answer 25") +
         log_line(6, 0, "u6", 1000 + (6 * 37) % 200, "answer 36");
}

TEST_F(DatasetTest, SameOnAnyNumberOfRanksAndSortedByTime) {
  DataOptions options;
  options.interactions = file("log.jsonl", sample_log());
  options.positive_rate = 0.3;
  run(options, "together", comm_);
  run(options, concat("alone", comm_.rank()), Communicator::self());
  const Communicator self = Communicator::self();
  for (const Split split : {Split::kTrain, Split::kHoldout}) {
    const LabelledData together(folder_ + "/together/data/love.h5", split, self);
    const LabelledData alone(concat(folder_, "/alone", comm_.rank(), "/data/love.h5"), split, self);
    ASSERT_EQ(together.labels(), alone.labels());
    EXPECT_EQ(together.users(), alone.users());
    EXPECT_EQ(together.timestamps(), alone.timestamps());
    EXPECT_TRUE(std::is_sorted(together.timestamps().begin(), together.timestamps().end()));
    EXPECT_EQ(together.prior_correction(), alone.prior_correction());
    for (std::int64_t i = 0; i < together.documents().size(); ++i) {
      EXPECT_EQ(together.documents().document(i).tokens, alone.documents().document(i).tokens);
      EXPECT_EQ(together.documents().document(i).response_start, alone.documents().document(i).response_start);
    }
  }
  const Json table = read_json(folder_ + "/together/tables/dataset.json")["love"];
  EXPECT_EQ(table["read"], 202);
  EXPECT_EQ(table["duplicates"], 2);
  EXPECT_EQ(table["holdout"], 20);
  EXPECT_EQ(table["train"].get<int>() + table["dropped_negatives"].get<int>(), 180);
  EXPECT_NEAR(table["natural_rate"].get<double>(), 0.1, 0.02);
  EXPECT_NEAR(table["training_rate"].get<double>(), 0.3, 0.08);
  EXPECT_GT(table["out_of_order_timestamps"].get<int>(), 0);
}

TEST_F(DatasetTest, MoreRanksThanRowsIsNoProblem) {
  DataOptions options;
  options.interactions = file("log.jsonl", log_line(1, 1, "a", 1, "x") + log_line(2, 0, "b", 2, "y"));
  options.holdout_share = 0;
  run(options, "few", comm_);
  const LabelledData data(folder_ + "/few/data/love.h5", Split::kTrain, comm_);
  EXPECT_EQ(data.labels(), (std::vector<float>{1, 0}));
}

TEST_F(DatasetTest, BadRowsNameFileAndLine) {
  const std::string good = log_line(1, 1, "a", 1, "x");
  const std::pair<std::string, std::string> cases[] = {
      {"{\"user_id\": ", ":2: broken JSON"},
      {"[1]", ":2: the line is no JSON object"},
      {R"({"user_id":"a","messages":"q","response":"r","signals":{"love":0}})",
       ":2: the field \"timestamp\" is missing"},
      {R"({"user_id":"a","timestamp":3,"messages":"q","signals":{"love":0}})", ":2: the field \"response\" is missing"},
      {R"({"user_id":"a","timestamp":3,"messages":"q","response":5,"signals":{"love":0}})",
       ":2: the field \"response\""},
      {R"({"user_id":"a","timestamp":3,"messages":"q","response":"r","signals":{"love":2}})", ":2: signals.love is 2"},
      {R"({"user_id":"a","timestamp":3,"messages":[],"response":"r","signals":{"love":0}})", ":2: the messages"},
      {"{\"user_id\":\"a\xff\"}", ":2: the text is not UTF-8"}};
  DataOptions options;
  for (const auto& [line, expected] : cases) {
    options.interactions = file("log.jsonl", good + line + "\n" + good);
    EXPECT_NE(message_of(options, ExitCode::kBadData).find("log.jsonl" + expected), std::string::npos) << expected;
    EXPECT_FALSE(fs::exists(folder_ + "/bad/data/love.h5"));
  }
}

TEST_F(DatasetTest, UselessLogsAreErrors) {
  DataOptions options;
  options.holdout_share = 0;
  const auto expect = [&](const std::string& text, const std::string& part) {
    options.interactions = file("log.jsonl", text);
    EXPECT_NE(message_of(options, ExitCode::kBadData).find(part), std::string::npos) << part;
  };
  expect("", "holds no rows");
  expect(log_line(1, 0, "a", 1, "x") + log_line(2, 0, "b", 2, "y"), "is 0 in every training row");
  expect(log_line(1, 1, "a", 1, "x") + log_line(2, 1, "b", 2, "y"), "is 1 in every training row");
  expect(log_line(1, 0, "a", 1, "x") + log_line(2, 1, "a", 2, "y"), "one user only");
  options.interactions = folder_ + "/absent.jsonl";
  EXPECT_NE(message_of(options, ExitCode::kBadInput).find("absent.jsonl"), std::string::npos);
}

TEST_F(DatasetTest, PairsAndPromptsKeepEqualPromptsOnOneSide) {
  std::string pairs, prompts;
  for (int i = 0; i < 120; ++i) {
    pairs += Json{{"prompt", concat("p", i / 2)},
                  {"chosen", concat("c", i)},
                  {"rejected", i % 40 ? "r" : concat("c", i)},
                  {"margin", 0.25}}
                 .dump() +
             "\n";
    prompts += Json{{"prompt", concat("p", i / 2)}}.dump() + "\n";
  }
  DataOptions options;
  options.helpfulness_pairs = file("pairs.jsonl", pairs);
  options.prompts = file("prompts.jsonl", prompts);
  options.holdout_share = 0.3;
  run(options, "pairs", comm_);
  const Json table = read_json(folder_ + "/pairs/tables/dataset.json");
  EXPECT_EQ(table["helpfulness"]["identical_responses"], 3);
  EXPECT_EQ(table["prompts"]["duplicates"], 60);
  std::map<std::string, int> sides;
  const ModelText text(Tokenizer::from_folder(folder_ + "/base"), "chatml");
  int side = 1;
  std::int64_t total = 0;
  for (const Split split : {Split::kTrain, Split::kHoldout}) {
    const PairData data(folder_ + "/pairs/data/helpfulness.h5", split, comm_);
    total += data.chosen().size();
    for (std::int64_t i = 0; i < data.chosen().size(); ++i) {
      const Document chosen = data.chosen().document(i);
      EXPECT_FLOAT_EQ(data.margins()[static_cast<std::size_t>(i)], 0.25f);
      sides[text.tokenizer.decode({chosen.tokens.begin(), chosen.tokens.begin() + chosen.response_start})] |= side;
    }
    for (const Prompt& prompt : read_prompts(folder_ + "/pairs/data/prompts.h5", split, comm_)) {
      ASSERT_EQ(prompt.messages.size(), 1u);
      EXPECT_EQ(prompt.messages[0].content, concat("p", prompt.id / 2));
      EXPECT_EQ(prompt.tokens, text.chat.prompt(prompt.messages));
      sides[text.tokenizer.decode(prompt.tokens)] |= side;
    }
    side = 2;
  }
  EXPECT_EQ(total, 117);
  EXPECT_EQ(sides.size(), 60u);
  for (const auto& [prompt, seen] : sides) EXPECT_NE(seen, 3) << prompt;
  EXPECT_THROW(LabelledData(folder_ + "/pairs/data/helpfulness.h5", Split::kTrain, comm_), Error);
}

TEST_F(DatasetTest, LayoutsOfPairsGiveTheSameFile) {
  std::string responses, conversations, transcripts, labelled;
  for (int i = 0; i < 60; ++i) {
    const std::string q = concat("p", i), good = concat("good ", i), bad = concat("bad ", i);
    const auto conversation = [&](const std::string& response) -> Json {
      return {{{"role", "user"}, {"content", q}}, {{"role", "assistant"}, {"content", response}}};
    };
    const auto transcript = [&](const std::string& response) {
      return "\n\nHuman: " + q + "\n\nAssistant: " + response;
    };
    responses += Json{{"prompt", q}, {"chosen", good}, {"rejected", bad}}.dump() + "\n";
    conversations += Json{{"chosen", conversation(good)}, {"rejected", conversation(bad)}}.dump() + "\n";
    transcripts += Json{{"chosen", transcript(good)}, {"rejected", transcript(bad)}}.dump() + "\n";
    labelled += Json{{"prompt", q}, {"completion", good}, {"label", true}}.dump() + "\n";
  }
  // The partners stand elsewhere in the file, so that other ranks read them.
  for (int i = 59; i >= 0; --i)
    labelled += Json{{"prompt", concat("p", i)}, {"completion", concat("bad ", i)}, {"label", false}}.dump() + "\n";
  labelled += Json{{"prompt", "p7"}, {"completion", "left over"}, {"label", true}}.dump() + "\n";
  DataOptions options;
  std::vector<std::string> written;
  for (const auto& [name, text] : {std::pair{"responses", responses},
                                   {"conversations", conversations},
                                   {"transcripts", transcripts},
                                   {"labelled", labelled}}) {
    options.helpfulness_pairs = file("pairs.jsonl", text);
    run(options, name, comm_);
    comm_.barrier();
    const Json table = read_json(folder_ + "/" + name + "/tables/dataset.json")["helpfulness"];
    EXPECT_EQ(table["layout"], name);
    const bool unpaired = std::string(name) == "labelled";
    EXPECT_EQ(table["read"], unpaired ? 121 : 60);
    EXPECT_EQ(table.value("no_partner", -1), unpaired ? 1 : -1);
    EXPECT_EQ(table.value("partners", -1), unpaired ? 60 : -1);
    EXPECT_EQ(table["train"].get<int>() + table["holdout"].get<int>(), 60);
    std::string all;
    const ModelText model(Tokenizer::from_folder(folder_ + "/base"), "chatml");
    for (const Split split : {Split::kTrain, Split::kHoldout}) {
      const PairData data(folder_ + "/" + name + "/data/helpfulness.h5", split, comm_);
      for (std::int64_t i = 0; i < data.chosen().size(); ++i)
        all += model.tokenizer.decode(data.chosen().document(i).tokens, true) + " > " +
               model.tokenizer.decode(data.rejected().document(i).tokens, true) + "\n";
    }
    written.push_back(all);
  }
  EXPECT_NE(written[0].find("p7<|im_end|>\n<|im_start|>assistant\ngood 7<|im_end|> > "), std::string::npos)
      << written[0];
  for (const std::string& other : written) EXPECT_EQ(other, written[0]);
}

TEST_F(DatasetTest, ScoresBecomeMargins) {
  std::string scored, contradicting;
  for (int i = 0; i < 20; ++i) {
    for (const double score : {1.0, 4.0, 2.5, 2.0})
      scored += Json{{"prompt", concat("p", i)}, {"response", concat("r", score)}, {"score", score}}.dump() + "\n";
    contradicting +=
        Json{{"prompt", concat("p", i)}, {"chosen", "a"}, {"rejected", "b"}, {"score_chosen", i}, {"score_rejected", 5}}
            .dump() +
        "\n";
  }
  DataOptions options;
  options.holdout_share = 0;
  options.helpfulness_pairs = file("scored.jsonl", scored);
  options.safety_pairs = file("contradicting.jsonl", contradicting);
  run(options, "scores", comm_);
  comm_.barrier();
  const Json table = read_json(folder_ + "/scores/tables/dataset.json");
  EXPECT_EQ(table["helpfulness"]["train"], 40);
  EXPECT_EQ(table["helpfulness"]["no_partner"], 0);
  EXPECT_EQ(table["safety"]["contradicting_scores"], 5);
  EXPECT_EQ(table["safety"]["train"], 15);
  const PairData helpful(folder_ + "/scores/data/helpfulness.h5", Split::kTrain, comm_);
  const std::vector<float> margins = helpful.margins();
  EXPECT_EQ(std::count(margins.begin(), margins.end(), 3.0f), 20);
  EXPECT_EQ(std::count(margins.begin(), margins.end(), 0.5f), 20);
  const PairData safe(folder_ + "/scores/data/safety.h5", Split::kTrain, comm_);
  EXPECT_EQ(safe.margins().back(), 14.0f);
}

TEST_F(DatasetTest, AFileOfPairsHasOneLayout) {
  DataOptions options;
  const auto expect = [&](const std::string& text, const std::string& part) {
    options.helpfulness_pairs = file("pairs.jsonl", text);
    EXPECT_NE(message_of(options, ExitCode::kBadData).find(part), std::string::npos) << part;
  };
  const std::string good = R"({"prompt":"q","chosen":"a","rejected":"b"})";
  expect("\n{\"text\":\"q\"}\n", "pairs.jsonl:2: no layout of preferences has these fields");
  expect(good + "\n\n" + R"({"prompt":"q","completion":"a","label":true})",
         "pairs.jsonl:3: the row has the layout \"labelled\"");
  expect(R"({"prompt":"q","completion":"a","label":true})", "no prompt has two responses of which one is better");
  expect("", "holds no rows");
}

TEST_F(DatasetTest, PromptsCarryTheirConstraints) {
  std::string prompts;
  for (int i = 0; i < 60; ++i) {
    Json row = {{"prompt", concat("p", i / 2)}};
    if (i % 2 == 1) row["answer"] = i;  // the same prompt with an answer is another one
    if (i % 6 == 3) row["instructions"] = {{{"type", "punctuation:no_comma"}}};
    if (i % 6 == 5) row["task"] = "math";
    prompts += row.dump() + "\n";
  }
  DataOptions options;
  options.prompts = file("constrained.jsonl", prompts);
  options.holdout_share = 0.3;
  run(options, "constrained", comm_);
  EXPECT_EQ(read_json(folder_ + "/constrained/tables/dataset.json")["prompts"]["duplicates"], 0);
  std::map<std::string, int> sides;
  std::int64_t seen = 0;
  int side = 1;
  for (const Split split : {Split::kTrain, Split::kHoldout}) {
    for (const Prompt& prompt : read_prompts(folder_ + "/constrained/data/prompts.h5", split, comm_)) {
      const std::int64_t i = prompt.id;
      EXPECT_EQ(prompt.messages.at(0).content, concat("p", i / 2));
      EXPECT_EQ(prompt.constraints.answer.value_or(""), i % 2 == 1 ? concat(i) : "");
      EXPECT_EQ(prompt.constraints.instructions.size(), i % 6 == 3 ? 1U : 0U);
      EXPECT_EQ(prompt.constraints.task, i % 6 == 5 ? "math" : "");
      sides[prompt.messages.at(0).content] |= side;
      ++seen;
    }
    side = 2;
  }
  EXPECT_EQ(seen, 60);
  for (const auto& [prompt, both] : sides) EXPECT_NE(both, 3) << prompt << " is on both sides";
  options.prompts = file("wrong.jsonl", "{\"prompt\": \"p\", \"instructions\": [{\"type\": \"no:such\"}]}\n");
  EXPECT_THROW(run(options, "wrong", comm_), Error);
}

TEST_F(DatasetTest, TruncationDropsTurnsThenTokensAndKeepsTheResponse) {
  const ModelText text(Tokenizer::from_folder(folder_ + "/base"), "chatml");
  const std::vector<Message> messages{{"user", "first"}, {"assistant", "second"}, {"user", "third"}};
  const auto whole = render_document(messages, "answer", text, 10, 10000);
  EXPECT_EQ(whole.truncated_tokens + whole.dropped_messages, 0);
  TokenIds expected = text.chat.prompt(messages);
  EXPECT_EQ(whole.document.response_start, std::ssize(expected));
  const TokenIds response = text.chat.response("answer");
  expected.insert(expected.end(), response.begin(), response.end());
  EXPECT_EQ(whole.document.tokens, expected);

  const auto ends_with_response = [&](const RenderedDocument& rendered) {
    const auto& tokens = rendered.document.tokens;
    return TokenIds(tokens.begin() + rendered.document.response_start, tokens.end()) == response;
  };
  const auto full = std::ssize(expected);
  const auto one_less = render_document(messages, "answer", text, 10, full - 1);
  EXPECT_EQ(one_less.dropped_messages, 1);
  EXPECT_EQ(one_less.truncated_tokens, std::ssize(text.chat.message(messages[0])));
  EXPECT_TRUE(ends_with_response(one_less));

  const auto last = render_document({messages[2]}, "answer", text, 10, 10000);
  const auto cut = render_document(messages, "answer", text, 10, std::ssize(last.document.tokens) - 3);
  EXPECT_EQ(cut.dropped_messages, 2);
  EXPECT_EQ(std::ssize(cut.document.tokens), std::ssize(last.document.tokens) - 3);
  EXPECT_TRUE(ends_with_response(cut));

  EXPECT_EQ(render_document(messages, "answer", text, 1, 10000).document.tokens, last.document.tokens);

  const std::string long_answer(200, 'x');
  const auto right = render_document(messages, long_answer, text, 10, 60);
  EXPECT_EQ(std::ssize(right.document.tokens), 60);
  const TokenIds end = text.chat.response("");
  EXPECT_TRUE(std::equal(end.rbegin(), end.rend(), right.document.tokens.rbegin()));
  EXPECT_THROW(render_document(messages, long_answer, text, 10, std::ssize(text.chat.response_header())), Error);
}

}  // namespace
}  // namespace rluf
