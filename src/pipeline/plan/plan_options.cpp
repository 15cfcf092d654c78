#include "rluf/pipeline/plan/plan_options.hpp"

#include "rluf/pipeline/plan/devices.hpp"
#include "rluf/pipeline/plan/model_shape.hpp"

namespace rluf {
namespace {

std::string words(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void describe_machine(PlanOptions& options, OptionTable& table) {
  table.add("ranks", &options.ranks,
            {.text = "devices, or cores, one rank each", .unit = "ranks", .low = 1, .high = 1048576});
  table.add("ranks_per_node", &options.ranks_per_node, {.text = "of them on a node", .low = 1, .high = 1024});
  table.add("device", &options.device, {.text = "row of the table of public devices", .choices = device_names()});
  const auto measured = [&](const char* key, double* target, const char* text, const char* unit) {
    table.add(key, target, {.text = text, .unit = unit, .low = 0, .high = 1e9});
  };
  measured("matrix_tflops", &options.matrix_tflops,
           "measured peak of matrix products in the type of model.compute; 0: the table's", "TFLOP/s");
  measured("memory_gb", &options.memory_gb, "memory of a rank; 0: the table's", "GB");
  measured("memory_gb_per_second", &options.memory_gb_per_second, "of a rank's memory, measured; 0: the table's",
           "GB/s");
  measured("link_gb_per_second", &options.link_gb_per_second,
           "between ranks of a node, one direction, measured; 0: the table's", "GB/s");
  measured("network_gb_per_second", &options.network_gb_per_second,
           "a rank's share of the node's adapters, one direction, measured; 0: the table's", "GB/s");
  measured("host_gb_per_second", &options.host_gb_per_second,
           "between a device and its host, one direction, measured; 0: the table's", "GB/s");
  table.add("host_memory_gb_per_second", &options.host_memory_gb_per_second,
            {.text = "a rank's share of its host's memory speed, for parallel.optimizer_memory = host; an assumption "
                     "until it is measured",
             .unit = "GB/s",
             .low = 0.1,
             .high = 1e5});
  const auto share = [&](const char* key, double* target, const char* text) {
    table.add(key, target, {.text = text, .low = 0.01, .high = 1});
  };
  share("matrix_efficiency", &options.matrix_efficiency,
        "share of the matrix peak that matrix products reach; an assumption until it is measured");
  share("attention_efficiency", &options.attention_efficiency,
        "share of the matrix peak that attention reaches; an assumption until it is measured");
  share("memory_efficiency", &options.memory_efficiency,
        "share of the memory's speed that is reached; an assumption until it is measured");
  share("network_efficiency", &options.network_efficiency,
        "share of the links' and adapters' speed that collectives reach; an assumption until it is measured");
  table.add("overlap", &options.overlap,
            {.text = "share of arithmetic and memory access behind which the shard axis's collectives hide, as "
                     "parallel.gather_ahead lets them; 0, until it is measured: they are waited for",
             .low = 0,
             .high = 1});
  table.add("collective_microseconds", &options.collective_microseconds,
            {.text = "of a collective with nothing in it", .unit = "microseconds", .low = 0, .high = 1e6});
  table.add("file_system_gb_per_second", &options.file_system_gb_per_second,
            {.text = "speed at which all ranks together write a checkpoint", .unit = "GB/s", .low = 1e-3, .high = 1e5});
  table.add("log_lines_per_second", &options.log_lines_per_second,
            {.text = "lines of the log that a rank unpacks; every rank unpacks them all. As measured with 1.5 kB a "
                     "line on a core",
             .unit = "lines/s",
             .low = 1,
             .high = 1e9});
  table.add("log_rows_per_second", &options.log_rows_per_second,
            {.text = "rows of the log that a rank reads and counts, of its share; measured as before",
             .unit = "rows/s",
             .low = 1,
             .high = 1e9});
  table.add("program_gb", &options.program_gb,
            {.text = "memory of a rank that libraries, contexts and their buffers take", .unit = "GB", .low = 0});
  table.add("spare_share", &options.spare_share,
            {.text = "share of a rank's memory that the allocator cannot use", .low = 0, .high = 0.9});
}

void describe_models(PlanOptions& options, OptionTable& table) {
  const std::string names = words(shape_names());
  const auto model = [&](const char* key, std::string* target, const std::string& text) {
    table.add(key, target, {.text = text + "; one of " + names, .allow_empty = true});
  };
  model("model", &options.model, "shape where model.base has no config.json here");
  model("love_model", &options.love_model, "shape where love.base has none; empty: as the model");
  model("helpfulness_model", &options.helpfulness_model, "shape where helpfulness.base has none; empty: as the model");
  model("safety_model", &options.safety_model, "shape where safety.base has none; empty: as the model");
  model("witness_model", &options.witness_model,
        "shape of the policy.witnesses that are not here; empty: as the model");
  model("judge_model", &options.judge_model, "shape of the judges' models that are not here; empty: as the model");
}

void describe_data(PlanOptions& options, OptionTable& table) {
  table.add(
      "stages", &options.stages,
      {.text = "what is planned: signals, sft, love, helpfulness, safety, evaluate (its audit), policy, validate; "
               "a stage without rows or examples is left out"});
  const auto count = [&](const char* key, double* target, const char* text, const char* unit) {
    table.add(key, target, {.text = text, .unit = unit, .low = 0, .high = 1e12});
  };
  count("interactions", &options.interactions, "rows of the log that the signals stage reads", "rows");
  count("sft_examples", &options.sft_examples, "trained on in an epoch", "examples");
  count("love_examples", &options.love_examples, "trained on in an epoch", "examples");
  count("helpfulness_pairs", &options.helpfulness_pairs, "trained on in an epoch", "pairs");
  count("safety_pairs", &options.safety_pairs, "trained on in an epoch", "pairs");
  count("prompts", &options.prompts, "different prompts of the policy's rounds; 0: every visit another", "prompts");
  count("held_out_prompts", &options.held_out_prompts, "answered by every policy in validate", "prompts");
  const auto tokens = [&](const char* key, double* target, const char* text) {
    table.add(key, target, {.text = text, .unit = "tokens", .low = 1, .high = 1e6});
  };
  tokens("love_tokens", &options.love_tokens, "mean length of a document of the love model, context and response");
  tokens("prompt_tokens", &options.prompt_tokens, "mean length of a prompt");
  tokens("response_tokens", &options.response_tokens,
         "mean length of a response; the longest is policy.max_new_tokens");
  tokens("judge_tokens", &options.judge_tokens,
         "of the question of a [judge.NAME] and its template, beside prompt and response");
}

}  // namespace

void PlanOptions::describe(OptionTable& table) {
  table.section("plan",
                "What `rluf plan` needs beside the options of the run: the machine, shapes and lengths. No other "
                "command looks at it.");
  describe_machine(*this, table);
  describe_models(*this, table);
  describe_data(*this, table);
  table.add("search", &search,
            {.text = "compare all grids and options and plan the fastest that fits; false: plan those that are given "
                     "in [parallel]"});
  table.add("placement", &placement,
            {.text = "of the reference and reward models in the policy stage: sharded over all ranks, in the host's "
                     "memory, or on groups of ranks of their own; auto: the fastest that fits",
             .choices = {"auto", "sharded", "host", "groups"}});
}

}  // namespace rluf
