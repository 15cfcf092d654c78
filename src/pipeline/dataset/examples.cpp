#include "rluf/pipeline/dataset/examples.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

std::string group_of(Split split) { return split == Split::kTrain ? "train" : "holdout"; }

template <class T>
std::vector<T> column(const Hdf5File& file, const std::string& name) {
  const at::Tensor values = file.read(name).contiguous();
  return {values.data_ptr<T>(), values.data_ptr<T>() + values.numel()};
}

/// The file, if it holds what data sets of this kind hold.
Hdf5File open_checked(const std::string& path, const Communicator& comm, const std::string& kind,
                      const std::vector<std::string>& datasets) {
  Hdf5File file = Hdf5File::open(path, comm);
  guarded(comm, [&] {
    for (const std::string& name : datasets)
      for (const char* split : {"train/", "holdout/"})
        if (!file.has(split + name))
          fail_data(concat(path, " has no dataset \"", split, name, "\""), concat("it is not a data set of ", kind),
                    "make it with `rluf dataset`");
  });
  return file;
}

/// Calls action(i, json) for each of `count` JSON values, of which value i stands in DATASET from OFFSETS[i] up to
/// OFFSETS[i + 1]. @throws Error(kBadData) if it does not
void for_each_json(const Hdf5File& file, const std::string& dataset, const std::string& offsets, std::size_t count,
                   const std::function<void(std::size_t, const nlohmann::json&)>& action) {
  const auto damaged = [&](const std::string& problem) {
    fail_data(concat(file.path(), ": ", problem, " \"", dataset, "\""), "the file is damaged",
              "make it again with `rluf dataset`");
  };
  const auto text = column<std::uint8_t>(file, dataset);
  const auto ends = column<std::int64_t>(file, offsets);
  if (ends.size() != count + 1 || ends.front() != 0 || ends.back() != std::ssize(text) || !std::ranges::is_sorted(ends))
    damaged("offsets do not fit");
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = nlohmann::json::parse(text.begin() + ends[i], text.begin() + ends[i + 1], nullptr, false);
    if (value.is_discarded()) damaged(concat("row ", i, " is no JSON in"));
    action(i, value);
  }
}

}  // namespace

DocumentStore::DocumentStore(const Hdf5File& file, const std::string& group) : file_(&file), group_(group) {
  for (const char* name : {"/tokens", "/offsets", "/response_starts"})
    if (!file.has(group + name))
      fail_data(concat(file.path(), " has no dataset \"", group, name, "\""), "it does not hold documents",
                "make it with `rluf dataset`");
  offsets_ = column<std::int64_t>(file, group + "/offsets");
  response_starts_ = column<std::int64_t>(file, group + "/response_starts");
  if (offsets_.size() != response_starts_.size() + 1 || offsets_.front() != 0 ||
      offsets_.back() != file.shape(group + "/tokens").at(0) || !std::is_sorted(offsets_.begin(), offsets_.end()))
    fail_data(concat(file.path(), ": offsets of \"", group, "\" do not fit its tokens"), "the file is damaged",
              "make it again with `rluf dataset`");
  for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) num_tokens_.push_back(offsets_[i + 1] - offsets_[i]);
}

Document DocumentStore::document(std::int64_t i) const {
  const auto row = static_cast<std::size_t>(i);
  RLUF_ASSERT(i >= 0 && row < num_tokens_.size());
  const at::Tensor tokens = file_->read_rows(group_ + "/tokens", offsets_[row], offsets_[row + 1]).contiguous();
  return {{tokens.data_ptr<std::int32_t>(), tokens.data_ptr<std::int32_t>() + tokens.numel()}, response_starts_[row]};
}

std::vector<TokenIds> DocumentStore::tokens(std::int64_t first, std::int64_t last) const {
  RLUF_ASSERT(0 <= first && first <= last && last <= size());
  const std::int64_t begin = offsets_[static_cast<std::size_t>(first)];
  const at::Tensor tokens =
      file_->read_rows(group_ + "/tokens", begin, offsets_[static_cast<std::size_t>(last)]).contiguous();
  const auto* values = tokens.data_ptr<std::int32_t>();
  std::vector<TokenIds> documents;
  for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
    documents.emplace_back(values + (offsets_[i] - begin), values + (offsets_[i + 1] - begin));
  return documents;
}

LabelledData::LabelledData(const std::string& path, Split split, const Communicator& comm)
    : file_(open_checked(path, comm, "labelled responses", {"tokens", "labels", "users", "timestamps", "facts"})),
      group_(group_of(split)),
      documents_(file_, group_),
      labels_(column<float>(file_, group_ + "/labels")),
      users_(column<std::int64_t>(file_, group_ + "/users")),
      timestamps_(column<std::int64_t>(file_, group_ + "/timestamps")),
      prior_correction_(column<double>(file_, "prior_correction").at(0)) {
  const auto rows = static_cast<std::size_t>(documents_.size());
  if (labels_.size() != rows || users_.size() != rows || timestamps_.size() != rows)
    fail_data(concat(path, ": columns of \"", group_, "\" have different lengths"), "the file is damaged",
              "make it again with `rluf dataset`");
}

std::vector<ResponseFacts> LabelledData::facts() const {
  std::vector<ResponseFacts> facts;
  try {
    for_each_json(file_, group_ + "/facts", group_ + "/facts_offsets", labels_.size(),
                  [&](std::size_t, const nlohmann::json& json) {
                    facts.push_back({json.at("use_case"), json.at("position"), json.at("signals")});
                  });
  } catch (const nlohmann::json::exception& error) {
    fail_data(concat(file_.path(), ": row ", facts.size(), " of \"", group_, "/facts\": ", error.what()),
              "the file is damaged", "make it again with `rluf dataset`");
  }
  return facts;
}

std::map<std::string, std::vector<double>> LabelledData::numbers() const {
  const std::size_t rows = labels_.size();
  std::map<std::string, std::vector<double>> columns;
  const auto set = [&](const std::string& name, std::size_t row, double value) {
    columns.try_emplace(name, rows, std::numeric_limits<double>::quiet_NaN()).first->second[row] = value;
  };
  for_each_json(file_, group_ + "/facts", group_ + "/facts_offsets", rows,
                [&](std::size_t row, const nlohmann::json& json) {
                  for (const auto& name : json.value("signals", nlohmann::json::array())) set(name, row, 1);
                  for (const auto& [name, value] : json.value("numbers", std::map<std::string, double>()))
                    set(name, row, value);
                });
  return columns;
}

PairData::PairData(const std::string& path, Split split, const Communicator& comm)
    : file_(open_checked(path, comm, "pairs", {"chosen/tokens", "rejected/tokens", "margins"})),
      chosen_(file_, group_of(split) + "/chosen"),
      rejected_(file_, group_of(split) + "/rejected"),
      margins_(column<float>(file_, group_of(split) + "/margins")) {}

std::vector<Prompt> read_prompts(const std::string& path, Split split, const Communicator& comm) {
  const Hdf5File file = open_checked(path, comm, "prompts", {"tokens", "text", "text_offsets", "ids"});
  const std::string group = group_of(split);
  std::vector<Prompt> prompts;
  guarded(comm, [&] {
    const auto tokens = column<std::int32_t>(file, group + "/tokens");
    const auto offsets = column<std::int64_t>(file, group + "/offsets");
    const auto ids = column<std::int64_t>(file, group + "/ids");
    if (offsets.size() != ids.size() + 1 || offsets.front() != 0 || offsets.back() != std::ssize(tokens) ||
        !std::ranges::is_sorted(offsets))
      fail_data(concat(path, ": offsets of \"", group, "\" do not fit its tokens"), "the file is damaged",
                "make it again with `rluf dataset`");
    const auto add = [&](std::size_t i, const nlohmann::json& json) {
      const bool constrained = json.is_object();
      prompts.push_back(
          {ids[i],
           read_messages(constrained ? field<nlohmann::json>(json, "messages", path, ids[i]) : json, path, ids[i]),
           {tokens.begin() + offsets[i], tokens.begin() + offsets[i + 1]},
           constrained ? read_constraints(field<nlohmann::json>(json, "constraints", path, ids[i]), path, ids[i])
                       : Constraints{}});
    };
    for_each_json(file, group + "/text", group + "/text_offsets", ids.size(), add);
  });
  return prompts;
}

}  // namespace rluf
