#include "rluf/pipeline/simulation/simulate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {
namespace {

/// Kinds of draws; those below 10 belong to the world itself.
enum Draw : std::uint64_t { kFit = 10, kLog = 11, kHelpful = 12, kSafe = 13, kSft = 14, kCandidate = 15 };

/// Conversations of the log are numbered from 0; all others start far above, so that no prompt draw is shared.
constexpr std::int64_t kConversationsApart = std::int64_t{1} << 40;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

Json prompt_json(const std::vector<Message>& prompt) {
  Json list = Json::array();
  for (const Message& message : prompt) list.push_back({{"role", message.role}, {"content", message.content}});
  return list;
}

/// Users with their tastes, drawn in proportion to their activity.
class Population {
 public:
  explicit Population(const World& world) {
    for (std::int64_t user = 0; user < world.num_users(); ++user) {
      tastes_.push_back(world.taste(user));
      total_ += tastes_.back().activity;
      cumulative_.push_back(total_);
    }
  }
  std::int64_t draw(RandomStream& random) const {
    const auto at = std::upper_bound(cumulative_.begin(), cumulative_.end(), random.uniform() * total_);
    return std::min<std::int64_t>(at - cumulative_.begin(), std::ssize(tastes_) - 1);
  }
  const UserTaste& taste(std::int64_t user) const { return tastes_[static_cast<std::size_t>(user)]; }
  /// Chance of a heart from the population as it is active.
  double expected_love(const LoveFeatures& features, double intercept) const {
    double sum = 0;
    for (const UserTaste& taste : tastes_) sum += taste.activity * sigmoid(intercept + love_log_odds(taste, features));
    return sum / total_;
  }

 private:
  std::vector<UserTaste> tastes_;
  std::vector<double> cumulative_;
  double total_ = 0;
};

/// Everything that a writer of one file needs.
struct Maker {
  const SimulationOptions& options;
  const World& world;
  const Population& population;
  std::string folder;

  RandomStream random(Draw draw, std::int64_t row) const {
    return {static_cast<std::uint64_t>(options.seed), Purpose::kSimulation, draw, static_cast<std::uint64_t>(row)};
  }
  std::vector<Message> fresh_prompt(Draw draw, std::int64_t row) const {
    RandomStream users = random(draw, row);
    return world.prompt_of(population.draw(users), kConversationsApart * static_cast<std::int64_t>(draw) + row);
  }
};

std::string numbered(const char* letter, std::int64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%s%07lld", letter, static_cast<long long>(number));
  return text;
}

const WritingStyle& any_style(RandomStream& random) { return old_styles()[random.below(old_styles().size())]; }

/// One logged turn: a user asks, an old policy answers, the user reacts.
Json log_row(const Maker& maker, std::int64_t row) {
  RandomStream random = maker.random(kLog, row);
  const World& world = maker.world;
  const std::int64_t user = maker.population.draw(random);
  const auto prompt = world.prompt_of(user, row);
  const WritingStyle& style = any_style(random);
  const std::string response = world.respond(style, prompt, random);
  const ResponseTruth truth = world.judge(prompt, response);
  const UserTaste& taste = maker.population.taste(user);
  const double love_chance =
      sigmoid(world.parameters().love_intercept + love_log_odds(taste, world.features(prompt, truth)));
  // Satisfaction is what the user came for; a goodbye out of habit is no part of it.
  const double satisfaction = taste.usefulness * (truth.helpfulness - 0.5) + 0.5 * taste.warmth * truth.warmth;
  const auto draw = [&](double log_odds) { return static_cast<int>(random.uniform() < sigmoid(log_odds)); };
  Json signals{{"love", static_cast<int>(random.uniform() < love_chance)}};
  signals["thumbs_up"] = draw(-4.0 + satisfaction);
  signals["thumbs_down"] = draw(-4.0 - satisfaction - (1 - truth.safety));
  signals["copy"] = draw(-3.5 + 2.0 * truth.helpfulness);
  signals["share"] = draw(-5.5 + satisfaction);
  signals["regenerate"] = draw(-2.5 - satisfaction);
  signals["continue"] = draw(0.2 + 0.5 * satisfaction - (truth.closing ? 1.0 : 0.0));
  constexpr std::int64_t kStart = 1'735'689'600, kDays90 = 90 * 86400;
  return {{"interaction_id", numbered("i", row)},
          {"conversation_id", numbered("c", row)},
          {"user_id", numbered("u", user)},
          {"timestamp", kStart + kDays90 * row / maker.options.rows},
          {"model", style.name},
          {"use_case", world.use_case(prompt)},
          {"messages", prompt_json(prompt)},
          {"response", response},
          {"signals", signals},
          {"retained_14d", draw(0.3 + 0.6 * satisfaction + 0.3 * taste.base)}};
}

double write_log(const Maker& maker) {
  JsonlWriter writer(maker.folder + "/interactions.jsonl.gz");
  Progress progress("simulate", "rows", maker.options.rows);
  double hearts = 0;
  for (std::int64_t row = 0; row < maker.options.rows; ++row) {
    const Json json = log_row(maker, row);
    hearts += json["signals"]["love"].get<double>();
    writer.write(json);
    if (RandomStream(static_cast<std::uint64_t>(maker.options.seed), Purpose::kSimulation, kLog + 100,
                     static_cast<std::uint64_t>(row))
            .uniform() < maker.options.duplicate_share)
      writer.write(json);
    if (row % 1000 != 999) continue;
    stop_here_if_requested("simulating");
    progress.update(row + 1);
  }
  writer.close();
  return hearts / static_cast<double>(maker.options.rows);
}

/// Two answers to one prompt, compared by a rater who sees the truth with noise; `truth_of` is what is compared.
void write_pairs(const Maker& maker, const std::string& name, Draw kind, std::int64_t count,
                 double (*truth_of)(const ResponseTruth&)) {
  constexpr double kRaterNoise = 0.15;
  JsonlWriter writer(maker.folder + "/" + name);
  std::int64_t written = 0;
  for (std::int64_t row = 0; written < count; ++row) {
    RandomStream random = maker.random(kind, row);
    const auto prompt = maker.fresh_prompt(kind, row);
    // Safety is compared mostly where it is at stake.
    if (kind == kSafe && maker.world.use_case(prompt) != "harm" && random.uniform() < 0.95) continue;
    std::string answers[2];
    double truths[2];
    for (int k = 0; k < 2; ++k) {
      WritingStyle style = any_style(random);
      if (kind == kSafe) style.compliance = 0.5;
      answers[k] = maker.world.respond(style, prompt, random);
      truths[k] = truth_of(maker.world.judge(prompt, answers[k]));
    }
    const double chance = sigmoid((truths[0] - truths[1]) / kRaterNoise);
    const int best = random.uniform() < chance ? 0 : 1;
    if (answers[0] == answers[1] || truths[0] == truths[1]) continue;
    writer.write({{"prompt", prompt_json(prompt)},
                  {"chosen", answers[best]},
                  {"rejected", answers[1 - best]},
                  {"margin", std::abs(2 * chance - 1)}});
    ++written;
  }
  writer.close();
}

void write_prompts(const Maker& maker) {
  JsonlWriter writer(maker.folder + "/prompts.jsonl.gz");
  constexpr auto kPrompts = static_cast<Draw>(16);
  for (std::int64_t row = 0; row < maker.options.prompts; ++row)
    writer.write({{"prompt", prompt_json(maker.fresh_prompt(kPrompts, row))}});
  writer.close();
}

void write_sft(const Maker& maker) {
  JsonlWriter writer(maker.folder + "/sft.jsonl.gz");
  for (std::int64_t row = 0; row < maker.options.sft_rows; ++row) {
    RandomStream random = maker.random(kSft, row);
    const auto prompt = maker.fresh_prompt(kSft, row);
    writer.write(
        {{"prompt", prompt_json(prompt)}, {"response", maker.world.respond(any_style(random), prompt, random)}});
  }
  writer.close();
}

/// Each style's answers to the same prompts, and the love rate it would have online.
void write_candidates(const Maker& maker) {
  Json online = Json::object();
  std::vector<WritingStyle> styles = old_styles();
  styles.insert(styles.end(), new_styles().begin(), new_styles().end());
  for (std::size_t s = 0; s < styles.size(); ++s) {
    JsonlWriter writer(maker.folder + "/candidates/" + styles[s].name + ".jsonl.gz");
    double love = 0;
    for (std::int64_t row = 0; row < maker.options.candidate_prompts; ++row) {
      const auto prompt = maker.fresh_prompt(kCandidate, row);
      RandomStream random = maker.random(static_cast<Draw>(200 + s), row);
      const std::string response = maker.world.respond(styles[s], prompt, random);
      const LoveFeatures features = maker.world.features(prompt, maker.world.judge(prompt, response));
      love += maker.population.expected_love(features, maker.world.parameters().love_intercept);
      writer.write({{"prompt", prompt_json(prompt)}, {"response", response}});
    }
    writer.close();
    online[styles[s].name] = {{"love_rate", love / static_cast<double>(maker.options.candidate_prompts)}};
    set_progress_mark("simulate", static_cast<long>(s));
  }
  write_json(maker.folder + "/online.json", online);
}

/// What other programs need to know of the tokenizer besides its file.
Json tokenizer_settings() {
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"model_input_names", {"input_ids", "attention_mask"}},
          {"bos_token", "<|im_start|>"},
          {"eos_token", "<|im_end|>"},
          {"pad_token", "<|endoftext|>"},
          {"clean_up_tokenization_spaces", false},
          {"chat_template",
           "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
           "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}};
}

void write_base_model(const SimulationOptions& options, const std::string& folder) {
  const Json tokenizer = world_tokenizer();
  std::filesystem::create_directories(folder);
  write_json(folder + "/tokenizer.json", tokenizer);
  write_json(folder + "/tokenizer_config.json", tokenizer_settings());
  const auto& added = tokenizer["added_tokens"];
  LlamaConfig config;
  config.vocab_size = added.back()["id"].get<std::int64_t>() + 1;
  config.hidden_size = options.hidden_size;
  config.intermediate_size = options.intermediate_size;
  config.num_layers = options.num_layers;
  config.num_heads = options.num_heads;
  config.num_kv_heads = options.num_kv_heads;
  config.head_dim = options.hidden_size / options.num_heads;
  config.max_position_embeddings = 512;
  config.eos_token_ids = {added[2]["id"].get<std::int32_t>()};
  config.bos_token_id = added[1]["id"].get<std::int32_t>();
  Llama(config, static_cast<std::uint64_t>(options.seed), at::Device(at::kCPU))
      .save(folder, folder + "/tokenizer.json");
}

}  // namespace

void SimulationOptions::describe(OptionTable& table) {
  table.section("simulate", "A small chat world with known truth, for a first run and for tests.");
  const auto count = [&](const char* key, std::int64_t* target, const char* text, const char* unit, double low) {
    table.add(key, target, {.text = text, .unit = unit, .low = low, .high = 1e9});
  };
  count("seed", &seed, "the world is a pure function of it", "", 0);
  count("rows", &rows, "logged turns", "rows", 1);
  count("users", &users, "users of the population", "users", 2);
  count("helpfulness_pairs", &helpfulness_pairs, "pairs compared by helpfulness", "pairs", 1);
  count("safety_pairs", &safety_pairs, "pairs compared by safety", "pairs", 1);
  count("prompts", &prompts, "prompts for the policies", "prompts", 1);
  count("sft_rows", &sft_rows, "prompt and response pairs for supervised training", "rows", 1);
  count("candidate_prompts", &candidate_prompts, "prompts that every candidate answers", "prompts", 1);
  table.add("love_rate", &love_rate,
            {.text = "share of hearts in the old policies' log, reached by one intercept", .low = 1e-6, .high = 0.5});
  table.add("duplicate_share", &duplicate_share,
            {.text = "share of rows that the log holds twice, as real logs do", .low = 0, .high = 1});
  count("hidden_size", &hidden_size, "width of the base model", "", 4);
  count("intermediate_size", &intermediate_size, "width of its feed-forward layers", "", 4);
  count("num_layers", &num_layers, "its layers", "layers", 1);
  count("num_heads", &num_heads, "its attention heads", "heads", 1);
  count("num_kv_heads", &num_kv_heads, "its heads of keys and values", "heads", 1);
}

void SimulationOptions::check() const {
  if (hidden_size % (2 * num_heads) != 0 || num_heads % num_kv_heads != 0)
    fail_input(concat("simulate.hidden_size ", hidden_size, ", num_heads ", num_heads, ", num_kv_heads ", num_kv_heads,
                      " do not fit"),
               "a head needs an even share of the hidden size, and heads are shared in equal groups",
               "make hidden_size a multiple of 2 num_heads and num_heads one of num_kv_heads");
}

std::int64_t simulate_memory_bytes(const SimulationOptions& options) {
  constexpr std::int64_t kUserBytes = 96, kStreams = 16 << 20;
  const std::int64_t width = options.hidden_size, layer = 4 * width * width + 3 * width * options.intermediate_size;
  return kStreams + options.users * kUserBytes + 8 * options.num_layers * layer;
}

World make_world(const SimulationOptions& options) {
  WorldParameters parameters;
  parameters.seed = static_cast<double>(options.seed);
  parameters.num_users = static_cast<double>(options.users);
  parameters.love_intercept = 0;
  const World world(parameters);
  const Population population(world);
  const Maker maker{options, world, population, ""};
  std::vector<double> log_odds;
  for (std::int64_t row = 0; row < 4000; ++row) {
    RandomStream random = maker.random(kFit, row);
    const std::int64_t user = population.draw(random);
    const auto prompt = world.prompt_of(user, kConversationsApart * static_cast<std::int64_t>(kFit) + row);
    const std::string response = world.respond(any_style(random), prompt, random);
    log_odds.push_back(love_log_odds(population.taste(user), world.features(prompt, world.judge(prompt, response))));
  }
  double low = -30, high = 30;
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    double sum = 0;
    for (const double value : log_odds) sum += sigmoid(middle + value);
    (sum / static_cast<double>(log_odds.size()) < options.love_rate ? low : high) = middle;
  }
  parameters.love_intercept = (low + high) / 2;
  return World(parameters);
}

void run_simulate(const SimulationOptions& options, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  const double start = now_seconds();
  // One rank writes: rows are made faster than one gzip stream takes them, and the files are the same on any number.
  guarded(comm, [&] {
    options.check();
    if (comm.rank() != 0) return;
    const std::string folder = context.directory.path() + "/world";
    std::filesystem::create_directories(folder + "/candidates");
    const World world = make_world(options);
    const Population population(world);
    const Maker maker{options, world, population, folder};
    write_base_model(options, folder + "/base");
    const double love_rate = write_log(maker);
    write_pairs(maker, "helpfulness_pairs.jsonl.gz", kHelpful, options.helpfulness_pairs,
                [](const ResponseTruth& truth) { return truth.helpfulness; });
    write_pairs(maker, "safety_pairs.jsonl.gz", kSafe, options.safety_pairs,
                [](const ResponseTruth& truth) { return truth.safety; });
    write_prompts(maker);
    write_sft(maker);
    write_candidates(maker);
    write_json(folder + "/world.json", world.to_json());  // last: who finds it finds all
    log_info(concat("simulate: ", options.rows, " rows, love rate ", love_rate, ", in ", now_seconds() - start, " s"));
  });
}

}  // namespace rluf
