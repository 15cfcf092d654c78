#pragma once
/// Scores and log-probabilities of many documents by a model, in fixed micro-batches dealt to the ranks.
#include <functional>
#include <vector>

#include "rluf/model/llama.hpp"
#include "rluf/model/model_options.hpp"
#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Scalar heads of each document. @shape out [num_documents * num_scores], the heads of a document one after another,
/// on every rank. @collective over data
std::vector<double> score_documents(const Llama& model, const std::vector<TokenIds>& documents,
                                    std::int64_t micro_batch_tokens, const Communicator& data,
                                    const std::string& stage);
/// The same for documents of these lengths that stay in a file: read(first, last) gives documents [first, last), on the
/// rank that scores them. @memory one micro-batch
std::vector<double> score_documents(
    const Llama& model, const std::vector<std::int64_t>& num_tokens,
    const std::function<std::vector<TokenIds>(std::int64_t first, std::int64_t last)>& read,
    std::int64_t micro_batch_tokens, const Communicator& data, const std::string& stage);
/// Sum over the response tokens of log p. @shape out [num_documents] on every rank. @collective over data
std::vector<double> response_log_probs(const Llama& model, const std::vector<Document>& documents,
                                       std::int64_t micro_batch_tokens, const Communicator& data,
                                       const std::string& stage);

/// log p of each of `tokens` as what follows each document. @shape out [num_documents * num_tokens], the tokens of a
/// document one after another, on every rank. @collective over data
std::vector<double> next_token_log_probs(const Llama& model, const std::vector<TokenIds>& documents,
                                         const std::vector<std::int32_t>& tokens, std::int64_t micro_batch_tokens,
                                         const Communicator& data, const std::string& stage);

/// Rows (within the packed batch) whose hidden state predicts a response token, and those tokens.
struct ResponseRows {
  at::Tensor rows, targets;           ///< [R] int64
  std::vector<std::int64_t> offsets;  ///< rows of document d: [offsets[d], offsets[d + 1])
};
ResponseRows response_rows(const std::vector<Document>& documents, at::Device device);
/// log p of every response token, differentiable; divided among the documents by response.offsets. @shape [R]
at::Tensor response_token_log_probs(const Llama& model, const std::vector<Document>& documents,
                                    const ResponseRows& response);

}  // namespace rluf
