#pragma once
/// The HDF5 data sets that later stages read: data/love.h5 (labelled responses), data/helpfulness.h5 and data/safety.h5
/// (pairs), data/prompts.h5. Ranks keep offsets and labels, and read tokens by hyperslab when an example is used.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "rluf/io/hdf5_file.hpp"
#include "rluf/model/model_options.hpp"
#include "rluf/pipeline/constraints/constraints.hpp"
#include "rluf/tokenizer/messages.hpp"

namespace rluf {

enum class Split { kTrain, kHoldout };

/// Documents of one split, with their lengths in memory and their tokens in the file.
class DocumentStore {
 public:
  DocumentStore(const Hdf5File& file, const std::string& group);
  std::int64_t size() const { return static_cast<std::int64_t>(num_tokens_.size()); }
  const std::vector<std::int64_t>& num_tokens() const { return num_tokens_; }
  const std::vector<std::int64_t>& response_starts() const { return response_starts_; }
  Document document(std::int64_t i) const;  ///< an independent hyperslab read
  /// Tokens of documents [first, last), in one such read.
  std::vector<TokenIds> tokens(std::int64_t first, std::int64_t last) const;

 private:
  const Hdf5File* file_;
  std::string group_;
  std::vector<std::int64_t> num_tokens_, offsets_, response_starts_;
};

/// What a log says of a response besides its label, to look at a model's quality part by part.
struct ResponseFacts {
  std::string use_case;              ///< empty: the row names none
  std::int64_t position = 1;         ///< 1: the first response of its conversation
  std::vector<std::string> signals;  ///< other signals that are 1, by name
};

/// data/love.h5: one response a row, label 0/1, in order of time. @collective constructor
/// @throws Error(kBadInput) if the file is missing, Error(kBadData) if it is HDF5 of something else
class LabelledData {
 public:
  LabelledData(const std::string& path, Split split, const Communicator& comm);
  LabelledData(const LabelledData&) = delete;  // documents_ points to file_
  LabelledData& operator=(const LabelledData&) = delete;
  const DocumentStore& documents() const { return documents_; }
  const std::vector<float>& labels() const { return labels_; }
  const std::vector<std::int64_t>& users() const { return users_; }            ///< keyed hashes
  const std::vector<std::int64_t>& timestamps() const { return timestamps_; }  ///< @unit seconds
  std::vector<ResponseFacts> facts() const;                                    ///< read when asked for
  /// What the log says in numbers of its rows, by name: other signals and numeric fields; NaN where a row says nothing.
  /// Read when asked for. @shape each [num_rows]
  std::map<std::string, std::vector<double>> numbers() const;
  /// What to ADD to a logit learned on the training split to undo the changed positive rate (0 where unchanged).
  double prior_correction() const { return prior_correction_; }

 private:
  Hdf5File file_;
  std::string group_;
  DocumentStore documents_;
  std::vector<float> labels_;
  std::vector<std::int64_t> users_, timestamps_;
  double prior_correction_ = 0;
};

/// Two responses to one prompt; `margin` is 0 where the file has none. @collective constructor
class PairData {
 public:
  PairData(const std::string& path, Split split, const Communicator& comm);
  PairData(const PairData&) = delete;  // the documents point to file_
  PairData& operator=(const PairData&) = delete;
  const DocumentStore& chosen() const { return chosen_; }
  const DocumentStore& rejected() const { return rejected_; }
  const std::vector<float>& margins() const { return margins_; }

 private:
  Hdf5File file_;
  DocumentStore chosen_, rejected_;
  std::vector<float> margins_;
};

/// A prompt as text and tokens. Held-out prompts are never trained on.
struct Prompt {
  std::int64_t id = 0;  ///< position in the file, the same in every run
  std::vector<Message> messages;
  TokenIds tokens;  ///< with the header after which a response starts
  Constraints constraints = {};
};
/// @collective
std::vector<Prompt> read_prompts(const std::string& path, Split split, const Communicator& comm);

/// Renders messages + response within `max_tokens`: at most `max_turns` of the newest messages, dropped from the left
/// at turn borders, then tokens from the left of the oldest kept message; the response always stays (cut on its right
/// only if it alone is too long, keeping its end mark). A turn is one message of the context.
struct RenderedDocument {
  Document document;
  std::int64_t truncated_tokens = 0, dropped_messages = 0;
};
RenderedDocument render_document(const std::vector<Message>& messages, const std::string& response,
                                 const ModelText& text, std::int64_t max_turns, std::int64_t max_tokens);
/// The same for a prompt that is to be answered.
RenderedDocument render_prompt_counted(const std::vector<Message>& messages, const ModelText& text,
                                       std::int64_t max_turns, std::int64_t max_tokens);
TokenIds render_prompt(const std::vector<Message>& messages, const ModelText& text, std::int64_t max_turns,
                       std::int64_t max_tokens);

}  // namespace rluf
