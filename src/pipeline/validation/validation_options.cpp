#include "rluf/pipeline/validation/validate.hpp"

namespace rluf {

void ValidationOptions::describe(OptionTable& table) {
  table.section("validate",
                "The policies and the reference side by side: on held-out prompts, and in a simulated world by an A/B "
                "test. Closing phrases are those of [policy].");
  table.add("max_prompts", &max_prompts,
            {.text = "held-out prompts used, from the start; 0: all", .unit = "prompts", .low = 0, .high = 1e9});
  table.add("samples_per_prompt", &samples_per_prompt,
            {.text = "answers of each policy to each held-out prompt", .unit = "responses", .low = 1, .high = 1024});
  table.add("max_new_tokens", &max_new_tokens,
            {.text = "longest response; 0: as policy.max_new_tokens", .unit = "tokens", .low = 0, .high = 1048576});
  table.add("temperature", &sampling.temperature,
            {.text = "of the answers; 0: the likeliest token", .low = 0, .high = 10});
  table.add("top_p", &sampling.top_p,
            {.text = "smallest set of tokens with this probability is drawn from", .low = 1e-6, .high = 1});
  table.add("top_k", &sampling.top_k, {.text = "tokens drawn from; 0: all", .unit = "tokens", .low = 0, .high = 1e9});
  batching.describe(table);
  table.add("micro_batch_tokens", &micro_batch_tokens,
            {.text = "packed tokens of one forward pass of one rank", .unit = "tokens", .low = 1});
  table.add("bootstrap_replicates", &bootstrap_replicates,
            {.text = "resamples behind each interval on held-out prompts", .low = 20, .high = 100000});
  table.add("ab", &ab, {.text = "in a simulated world: also the A/B test"});
  table.add("ab_users", &ab_users,
            {.text = "users of the A/B test, all arms together; 0: the whole population, more than it has: newcomers "
                     "of the same tastes",
             .unit = "users",
             .low = 0,
             .high = 1e9});
  table.add("ab_responses_per_user", &ab_responses_per_user,
            {.text = "average over the users; each asks in proportion to his activity, at least once, at most ten "
                     "times the average",
             .unit = "responses",
             .low = 1,
             .high = 1e6});
  table.add("ab_alpha", &ab_alpha,
            {.text = "two-sided error for the number of users needed", .low = 1e-6, .high = 0.5});
  table.add("ab_power", &ab_power, {.text = "power for the number of users needed", .low = 0.5, .high = 0.999999});
}

}  // namespace rluf
