#include "pair_rows.hpp"

#include "rluf/pipeline/dataset/pair_layouts.hpp"

namespace rluf {
namespace {

Row pair_of(const Row& better, const Row& worse, bool with_margin) {
  Row pair = better;
  pair.owners[1] = worse.owners[0];
  pair.texts[1] = worse.texts[0];
  pair.value = with_margin ? better.value - worse.value : 0.0;
  pair.truncated_tokens += worse.truncated_tokens;
  pair.dropped_messages += worse.dropped_messages;
  pair.dropped = better.user == worse.user ? kIdenticalResponses : 0;
  return pair;
}

}  // namespace

Rows pair_up(const Rows& responses, bool with_margin, const Communicator& comm) {
  const Rows together = rows_by_key(
      responses,
      [](const Row& row) {
        return OrderKey{row.line, 0};
      },
      comm);
  Rows pairs(together.beside());
  guarded(comm, [&] {
    std::vector<Row> of_prompt;
    const auto end_prompt = [&] {
      std::vector<double> scores;
      for (const Row& row : of_prompt) scores.push_back(row.value);
      for (const auto& [better, worse] : best_against_worst(scores))
        pairs.append(pair_of(of_prompt[better], of_prompt[worse], with_margin));
      of_prompt.clear();
    };
    together.for_each([&](const Row& row) {
      if (!of_prompt.empty() && of_prompt[0].key != row.key) end_prompt();
      of_prompt.push_back(row);
    });
    end_prompt();
  });
  return pairs;
}

}  // namespace rluf
