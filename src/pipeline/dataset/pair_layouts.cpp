#include "rluf/pipeline/dataset/pair_layouts.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "row_reader.hpp"

namespace rluf {
namespace {

constexpr const char* kOneLayout = "a file has one layout, that of its first row";
constexpr const char* kTwoResponses = "a pair is two responses to one prompt";

bool has_prompt(const Json& row) { return row.contains("prompt") || row.contains("messages"); }

bool is_lone_response(const Json& value) {
  return value.is_array() && value.size() == 1 && value[0].is_object() && value[0].value("role", Json()) == "assistant";
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

void check_layout_of(const Json& row, PairLayout layout, const Place& place) {
  const auto own = layout_of(row);
  if (own && *own != layout)
    place.fail(
        concat("the row has the layout \"", layout_name(*own), "\", the first row \"", layout_name(layout), "\""),
        kOneLayout);
}

/// A text, or a list of one message of the assistant.
std::string response_member(const Json& row, const char* name, const Place& place) {
  const Json& value = member(row, name, place);
  if (is_lone_response(value)) return read_messages(value, place.path, place.line)[0].content;
  if (value.is_array())
    place.fail(concat("\"", name, "\" is not one message of the assistant"),
               "with a prompt beside it, it is a response");
  return text_member(row, name, place);
}

/// How a turn of a transcript begins.
struct TurnMark {
  std::string text, role;
};

const TurnMark* mark_at(const std::string& text, std::size_t at) {
  static const std::vector<TurnMark> marks{{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}};
  for (const TurnMark& mark : marks)
    if (text.compare(at, mark.text.size(), mark.text) == 0) return &mark;
  return nullptr;
}

/// "\n\nHuman: ... \n\nAssistant: ..." as messages.
std::vector<Message> read_transcript(const Json& row, const char* name, const Place& place) {
  const std::string text = "\n\n" + trimmed(text_member(row, name, place));
  std::vector<Message> messages;
  for (std::size_t at = 0; at < text.size();) {
    const TurnMark* mark = mark_at(text, at);
    if (mark == nullptr)
      place.fail(concat("\"", name, "\" does not begin with \"Human:\" or \"Assistant:\""),
                 "without a prompt beside it, it is a whole conversation");
    const std::size_t begin = at + mark->text.size();
    at = text.find("\n\n", begin);
    while (at != std::string::npos && mark_at(text, at) == nullptr) at = text.find("\n\n", at + 1);
    at = std::min(at, text.size());
    messages.push_back({mark->role, trimmed(text.substr(begin, at - begin))});
  }
  return messages;
}

bool is_same(const Message& a, const Message& b) { return a.role == b.role && a.content == b.content; }

/// A prompt beside whole conversations says again what is in them.
void check_prompt_beside(const Json& row, const std::vector<Message>& shared, const Place& place) {
  if (!has_prompt(row)) return;
  const std::vector<Message> beside = context_of(row, place);
  const bool is_in_them = std::any_of(shared.begin(), shared.end(), [&](const Message& message) {
    return trimmed(message.content) == trimmed(beside.back().content);
  });
  if (!is_in_them)
    place.fail("the prompt is not in what chosen and rejected begin with", "it would be ignored in silence");
}

/// Two conversations that part at their last message.
PreferencePair pair_of(const std::vector<Message>& chosen, const std::vector<Message>& rejected, const Place& place) {
  const auto limit = static_cast<std::ptrdiff_t>(std::min(chosen.size(), rejected.size())) - 1;
  const auto end = std::mismatch(chosen.begin(), chosen.begin() + limit, rejected.begin(), is_same).first;
  PreferencePair pair{.prompt = {chosen.begin(), end}, .chosen = {}, .rejected = {}};
  if (pair.prompt.empty()) place.fail("chosen and rejected do not begin with the same message", kTwoResponses);
  if (std::max(chosen.size(), rejected.size()) != pair.prompt.size() + 1)
    place.fail("chosen and rejected part before their last message", kTwoResponses);
  for (const auto* response : {&chosen, &rejected})
    if (response->back().role != "assistant")
      place.fail(concat(response == &chosen ? "chosen" : "rejected", " ends with the role ", response->back().role),
                 "its last message is the assistant's response");
  if (pair.prompt.back().role == "assistant")
    place.fail("the prompt ends with the role assistant", "nobody asked for the response");
  pair.chosen = chosen.back().content;
  pair.rejected = rejected.back().content;
  return pair;
}

double finite_member(const Json& row, const char* name, const Place& place) {
  const double value = number_member(row, name, place);
  if (!std::isfinite(value)) place.fail(concat("\"", name, "\" is not finite"), "it is compared with others");
  return value;
}

double margin_of(const Json& row, const Place& place) {
  const bool has_margin = row.contains("margin");
  if (!row.contains("score_chosen") && !row.contains("score_rejected"))
    return has_margin ? finite_member(row, "margin", place) : 0.0;
  if (has_margin) place.fail("the row has a margin and scores", "the margin is the difference of the scores");
  return finite_member(row, "score_chosen", place) - finite_member(row, "score_rejected", place);
}

}  // namespace

std::string layout_name(PairLayout layout) {
  switch (layout) {
    case PairLayout::kResponses:
      return "responses";
    case PairLayout::kConversations:
      return "conversations";
    case PairLayout::kTranscripts:
      return "transcripts";
    case PairLayout::kLabelled:
      return "labelled";
    case PairLayout::kScored:
      return "scored";
  }
  return "";
}

bool is_unpaired(PairLayout layout) { return layout == PairLayout::kLabelled || layout == PairLayout::kScored; }

std::optional<PairLayout> layout_of(const Json& row) {
  if (row.contains("chosen") && row.contains("rejected")) {
    const Json &chosen = row["chosen"], &rejected = row["rejected"];
    if (chosen.is_string() && rejected.is_string())
      return has_prompt(row) ? PairLayout::kResponses : PairLayout::kTranscripts;
    if (!chosen.is_array() || !rejected.is_array()) return std::nullopt;
    return has_prompt(row) && is_lone_response(chosen) && is_lone_response(rejected) ? PairLayout::kResponses
                                                                                     : PairLayout::kConversations;
  }
  if (!has_prompt(row) || !(row.contains("completion") || row.contains("response"))) return std::nullopt;
  if (row.contains("label")) return PairLayout::kLabelled;
  return row.contains("score") ? std::optional(PairLayout::kScored) : std::nullopt;
}

PairLayout layout_of_file(const std::string& path) {
  std::optional<PairLayout> layout;
  LineReader reader(path);
  for (std::string line; !layout && reader.next(line);) {
    if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
    const Place place{path, reader.line_number()};
    layout = layout_of(json_row(line, path, reader.line_number()));
    if (!layout)
      place.fail(
          "no layout of preferences has these fields",
          "known are: prompt, chosen, rejected; chosen and rejected as lists of messages or as \"\\n\\nHuman: ... "
          "\\n\\nAssistant: ...\"; prompt, completion or response, and label or score");
  }
  if (!layout) fail_data(concat(path, " holds no rows"), "there is nothing to learn from", "give another file");
  return *layout;
}

PreferencePair read_pair(const Json& row, PairLayout layout, const std::string& path, std::int64_t line) {
  const Place place{path, line};
  check_layout_of(row, layout, place);
  PreferencePair pair;
  if (layout == PairLayout::kResponses) {
    pair.prompt = context_of(row, place);
    pair.chosen = response_member(row, "chosen", place);
    pair.rejected = response_member(row, "rejected", place);
  } else {
    const auto side = [&](const char* name) {
      return layout == PairLayout::kTranscripts ? read_transcript(row, name, place)
                                                : read_messages(member(row, name, place), path, line);
    };
    pair = pair_of(side("chosen"), side("rejected"), place);
    check_prompt_beside(row, pair.prompt, place);
  }
  pair.margin = margin_of(row, place);
  return pair;
}

RatedResponse read_rated(const Json& row, PairLayout layout, const std::string& path, std::int64_t line) {
  const Place place{path, line};
  check_layout_of(row, layout, place);
  const bool labelled = layout == PairLayout::kLabelled;
  RatedResponse rated{.prompt = context_of(row, place),
                      .response = response_member(row, row.contains("completion") ? "completion" : "response", place),
                      .score = finite_member(row, labelled ? "label" : "score", place)};
  if (labelled && rated.score != 0 && rated.score != 1)
    place.fail(concat("the label is ", rated.score), "it is true or 1 for a good response, false or 0 for a bad one");
  return rated;
}

std::vector<std::pair<std::size_t, std::size_t>> best_against_worst(const std::vector<double>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (std::size_t i = 0; 2 * i + 1 < order.size(); ++i) {
    const std::size_t better = order[i], worse = order[order.size() - 1 - i];
    if (!(scores[better] > scores[worse])) break;
    pairs.emplace_back(better, worse);
  }
  return pairs;
}

}  // namespace rluf
