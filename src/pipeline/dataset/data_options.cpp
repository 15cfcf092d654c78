#include "rluf/pipeline/dataset/data_options.hpp"

namespace rluf {

void DataOptions::describe(OptionTable& table) {
  table.section("data", "The logs and comparisons that are learned from; inputs that are not given are skipped.");
  table.add("interactions", &interactions,
            {.text = "log of conversations with signals: JSON lines, plain or gzip", .allow_empty = true});
  table.add(
      "helpfulness_pairs", &helpfulness_pairs,
      {.text = "preferences by helpfulness: JSON lines in one layout, that of the first row: prompt, chosen, rejected "
               "(and margin, or score_chosen and score_rejected); chosen and rejected as lists of messages, or as "
               "\"\\n\\nHuman: ... \\n\\nAssistant: ...\", that begin with the same prompt; prompt, completion or "
               "response, and label or score, where the best response to a prompt is compared with the worst",
       .allow_empty = true});
  table.add("safety_pairs", &safety_pairs, {.text = "preferences by safety, in the same layouts", .allow_empty = true});
  table.add("prompts", &prompts, {.text = "prompts that policies answer: JSON lines", .allow_empty = true});
  table.add("sft", &sft,
            {.text = "prompt and response pairs for supervised training: JSON lines", .allow_empty = true});
  table.add(
      "candidates", &candidates,
      {.text = "folder of NAME.jsonl(.gz) with responses to the same prompts, or model folders separated by commas",
       .allow_empty = true});
  table.add("online", &online,
            {.text = "JSON file with the known online love_rate of each candidate", .allow_empty = true});
  table.add(
      "signal", &signal,
      {.text = "field of signals{} that is the label of the love model; auto: what the stage signals recommends"});
  table.add(
      "reactors", &reactors,
      {.text = "positives of users who give the signal beyond chance, whom the stage signals lists: keep all, cap "
               "(keep the first ones, see signals.user_cap), drop all",
       .choices = {"keep", "cap", "drop"}});
  table.add("max_turns", &max_turns,
            {.text = "messages of context that are kept, the newest", .unit = "messages", .low = 1, .high = 1000});
  table.add("max_tokens", &max_tokens,
            {.text = "length of a document with its response; longer ones lose the oldest messages first",
             .unit = "tokens",
             .low = 16,
             .high = 1048576});
  table.add("max_rows", &max_rows,
            {.text = "rows read of each input, from its start; 0: all", .unit = "rows", .low = 0, .high = 1e12});
  table.add("holdout_share", &holdout_share,
            {.text = "share that is never trained on: the last part of time of the log, random prompts elsewhere",
             .low = 0,
             .high = 0.9});
  table.add(
      "positive_rate", &positive_rate,
      {.text = "share of positives that the training rows are raised to; 0: leave it as it is", .low = 0, .high = 0.9});
  table.add("balance", &balance,
            {.text = "how the share of positives is raised: by dropping negatives or repeating positives",
             .choices = {"negative_keep", "positive_repeat"}});
  table.add(
      "user_key", &user_key,
      {.text = "secret key of the hashes that replace user ids; choose your own, best as ${NAME} of the environment",
       .secret = true});
}

}  // namespace rluf
