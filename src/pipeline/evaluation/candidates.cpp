#include "rluf/pipeline/evaluation/candidates.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/signals/interaction.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// NAME of NAME.jsonl or NAME.jsonl.gz; empty for other files.
std::string response_file_name(const fs::path& path) {
  const std::string file = path.filename().string();
  for (const std::string ending : {".jsonl.gz", ".jsonl"})
    if (file.size() > ending.size() && file.ends_with(ending)) return file.substr(0, file.size() - ending.size());
  return "";
}

bool is_model_folder(const fs::path& path) { return fs::is_directory(path) && fs::exists(path / "config.json"); }

/// A part of the option without the spaces around it.
std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::string model_name(fs::path path) {
  if (path.filename().empty()) path = path.parent_path();  // "models/a/"
  return path.filename().string();
}

std::vector<Candidate> candidates_at(const fs::path& path) {
  if (is_model_folder(path))
    return {{.name = model_name(path), .path = path.string(), .is_model = true, .responses = {}}};
  if (fs::is_regular_file(path) && !response_file_name(path).empty())
    return {{.name = response_file_name(path), .path = path.string(), .is_model = false, .responses = {}}};
  std::vector<Candidate> found;
  if (fs::is_directory(path))
    for (const auto& entry : fs::directory_iterator(path)) {
      if (is_model_folder(entry.path()) || (entry.is_regular_file() && !response_file_name(entry.path()).empty()))
        found.push_back(candidates_at(entry.path()).front());
    }
  return found;
}

bool same_prompt(const std::vector<Message>& a, const std::vector<Message>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Message& x, const Message& y) { return x.role == y.role && x.content == y.content; });
}

/// The start of the last message, enough to find it.
std::string shown(const std::vector<Message>& prompt) {
  if (prompt.empty()) return "(no message)";
  const std::string& text = prompt.back().content;
  std::size_t end = std::min<std::size_t>(60, text.size());
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80) --end;
  return concat("\"", text.substr(0, end), end < text.size() ? "...\"" : "\"");
}

}  // namespace

std::vector<Candidate> find_candidates(const std::string& option) {
  std::vector<Candidate> all;
  for (std::size_t first = 0; first <= option.size();) {
    const std::size_t comma = std::min(option.find(',', first), option.size());
    const std::string part = trimmed(option.substr(first, comma - first));
    first = comma + 1;
    if (part.empty()) continue;
    if (!fs::exists(part))
      fail_input(concat("data.candidates: ", part, " does not exist"), "there is nothing to evaluate",
                 "check the path; several are separated by commas");
    auto found = candidates_at(part);
    if (found.empty())
      fail_input(concat("data.candidates: ", part, " holds no candidate"),
                 "it has neither NAME.jsonl(.gz) files nor model folders", "check the path");
    std::move(found.begin(), found.end(), std::back_inserter(all));
  }
  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) { return a.name < b.name; });
  for (std::size_t c = 1; c < all.size(); ++c)
    if (all[c].name == all[c - 1].name)
      fail_input(concat("two candidates have the name ", all[c].name, ": ", all[c - 1].path, " and ", all[c].path),
                 "their results could not be told apart", "rename one");
  return all;
}

CandidateSet read_responses(std::vector<Candidate> found, std::int64_t max_prompts) {
  CandidateSet set;
  std::string first_path;
  std::map<std::string, std::int64_t> users;
  bool has_users = false;
  for (Candidate& candidate : found) {
    if (candidate.is_model) continue;
    const bool is_first = first_path.empty();
    std::int64_t row_number = 0;
    for_each_row(candidate.path, 0, 1, [&](std::int64_t line, const Json& row) {
      if (max_prompts > 0 && row_number >= max_prompts) return;
      const auto messages = messages_of(row, candidate.path, line);
      const auto index = static_cast<std::size_t>(row_number++);
      if (is_first) {
        set.prompts.push_back(messages);
        const bool has_user = row.contains("user_id");
        has_users = has_users || has_user;
        const std::string user = has_user ? user_of(row, candidate.path, line) : concat("\n", line);
        set.users.push_back(users.emplace(user, std::ssize(users)).first->second);
      } else if (index >= set.prompts.size()) {
        fail_data(concat(candidate.path, ":", line, ": prompt ", index + 1, " ", shown(messages), " is not in ",
                         first_path, ", which ends before it"),
                  "candidates are compared prompt by prompt", "let all candidates answer the same prompts");
      } else if (!same_prompt(messages, set.prompts[index])) {
        fail_data(concat(candidate.path, ":", line, ": prompt ", index + 1, " is ", shown(messages), ", in ",
                         first_path, " it is ", shown(set.prompts[index])),
                  "candidates are compared prompt by prompt",
                  "let all candidates answer the same prompts in the same order");
      }
      candidate.responses.push_back(field<std::string>(row, "response", candidate.path, line));
    });
    if (row_number == 0) fail_data(candidate.path + " has no rows", "there is nothing to score", "check the file");
    if (candidate.responses.size() < set.prompts.size())
      fail_data(concat(candidate.path, " ends after ", row_number, " prompts; ", first_path, " goes on with ",
                       shown(set.prompts[candidate.responses.size()])),
                "candidates are compared prompt by prompt", "let all candidates answer the same prompts");
    if (is_first) first_path = candidate.path;
  }
  if (!has_users) set.users.clear();
  set.candidates = std::move(found);
  return set;
}

}  // namespace rluf
