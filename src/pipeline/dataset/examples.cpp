#include "rluf/pipeline/dataset/examples.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "rluf/core/error.hpp"

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
      prior_correction_(column<double>(file_, "prior_correction").at(0)) {}

std::vector<ResponseFacts> LabelledData::facts() const {
  const auto text = column<std::uint8_t>(file_, group_ + "/facts");
  const auto offsets = column<std::int64_t>(file_, group_ + "/facts_offsets");
  std::vector<ResponseFacts> facts;
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    const auto json = nlohmann::json::parse(text.begin() + offsets.at(i), text.begin() + offsets.at(i + 1));
    facts.push_back({json.at("use_case"), json.at("position"), json.at("signals")});
  }
  return facts;
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
    const auto text = column<std::uint8_t>(file, group + "/text");
    const auto text_offsets = column<std::int64_t>(file, group + "/text_offsets");
    const auto ids = column<std::int64_t>(file, group + "/ids");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto json = nlohmann::json::parse(text.begin() + text_offsets[i], text.begin() + text_offsets[i + 1]);
      const bool constrained = json.is_object();
      prompts.push_back({ids[i],
                         read_messages(constrained ? json.at("messages") : json, path, ids[i]),
                         {tokens.begin() + offsets[i], tokens.begin() + offsets[i + 1]},
                         constrained ? read_constraints(json.at("constraints"), path, ids[i]) : Constraints{}});
    }
  });
  return prompts;
}

}  // namespace rluf
