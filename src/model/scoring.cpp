#include "rluf/model/scoring.hpp"

#include <torch/torch.h>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {
namespace {

/// Deals fixed micro-batches to the replicas and adds the results up: each document is scored by exactly one of them.
/// `score(first, last, out)` fills the values of documents [first, last), `width` for each.
std::vector<double> over_ranks(const Llama& model, const std::vector<std::int64_t>& lengths,
                               std::int64_t micro_batch_tokens, const Communicator& comm, const std::string& stage,
                               const std::function<void(std::int64_t, std::int64_t, std::vector<double>&)>& score,
                               std::size_t width = 1) {
  torch::NoGradGuard no_grad;
  std::vector<double> values(lengths.size() * width, 0.0);
  const auto micro_batches = pack_ranges(lengths, micro_batch_tokens);
  const Communicator& replicas = replicas_of(model.layout(), comm);
  const std::size_t size = static_cast<std::size_t>(replicas.size());
  // Who shares weights goes through as many passes as the others; what is scored once too often is not kept.
  const bool in_step = model.layout() && model.layout()->divides_weights();
  std::vector<double> unused(in_step ? values.size() : 0);
  const std::size_t rounds = (micro_batches.size() + size - 1) / size;
  Progress progress(stage, "micro-batches", static_cast<long>(rounds));
  for (std::size_t round = 0; round < rounds; ++round) {
    guarded(comm, [&] {
      const std::size_t mine = round * size + static_cast<std::size_t>(replicas.rank());
      const PackRange& range = micro_batches[mine % micro_batches.size()];
      if (mine < micro_batches.size()) {
        score(range.first, range.last, values);
      } else if (in_step) {
        score(range.first, range.last, unused);
      }
    });
    progress.update(static_cast<long>(round) + 1);
    stop_if_requested(comm, "scoring for " + stage);
  }
  replicas.all_reduce(values);
  return values;
}

}  // namespace

std::vector<double> score_documents(const Llama& model, const std::vector<TokenIds>& documents,
                                    std::int64_t micro_batch_tokens, const Communicator& comm,
                                    const std::string& stage) {
  std::vector<std::int64_t> lengths;
  for (const TokenIds& document : documents) lengths.push_back(static_cast<std::int64_t>(document.size()));
  return score_documents(
      model, lengths,
      [&](std::int64_t first, std::int64_t last) {
        return std::vector<TokenIds>(documents.begin() + first, documents.begin() + last);
      },
      micro_batch_tokens, comm, stage);
}

std::vector<double> score_documents(
    const Llama& model, const std::vector<std::int64_t>& num_tokens,
    const std::function<std::vector<TokenIds>(std::int64_t first, std::int64_t last)>& read,
    std::int64_t micro_batch_tokens, const Communicator& comm, const std::string& stage) {
  const std::int64_t width = std::max<std::int64_t>(1, model.config().num_scores);
  return over_ranks(
      model, num_tokens, micro_batch_tokens, comm, stage,
      [&](std::int64_t first, std::int64_t last, std::vector<double>& out) {
        const auto batch = PackedBatch::from(read(first, last), model.device());
        const at::Tensor scores =
            model.scores(model.hidden(batch), batch).to(torch::kCPU, torch::kFloat64).contiguous();
        std::copy_n(scores.const_data_ptr<double>(), scores.numel(), out.begin() + first * width);
      },
      static_cast<std::size_t>(width));
}

std::vector<double> next_token_log_probs(const Llama& model, const std::vector<TokenIds>& documents,
                                         const std::vector<std::int32_t>& tokens, std::int64_t micro_batch_tokens,
                                         const Communicator& comm, const std::string& stage) {
  std::vector<std::int64_t> lengths;
  for (const TokenIds& document : documents) lengths.push_back(static_cast<std::int64_t>(document.size()));
  const std::size_t width = tokens.size();
  return over_ranks(
      model, lengths, micro_batch_tokens, comm, stage,
      [&](std::int64_t first, std::int64_t last, std::vector<double>& out) {
        const std::vector<TokenIds> mine(documents.begin() + first, documents.begin() + last);
        std::vector<std::int64_t> rows, targets;
        std::int64_t end = 0;
        for (const TokenIds& document : mine) {
          end += static_cast<std::int64_t>(document.size());
          rows.insert(rows.end(), width, end - 1);  // the state at the last token predicts what follows
          targets.insert(targets.end(), tokens.begin(), tokens.end());
        }
        const at::Tensor hidden = model.hidden(PackedBatch::from(mine, model.device()));
        const at::Tensor log_probs =
            model
                .log_probs(hidden.index_select(0, torch::tensor(rows, torch::kInt64).to(model.device())),
                           torch::tensor(targets, torch::kInt64).to(model.device()))
                .to(torch::kCPU, torch::kFloat64)
                .contiguous();
        std::copy_n(log_probs.const_data_ptr<double>(), rows.size(),
                    out.begin() + first * static_cast<std::int64_t>(width));
      },
      width);
}

ResponseRows response_rows(const std::vector<Document>& documents, at::Device device) {
  std::vector<std::int64_t> rows, targets;
  ResponseRows result;
  result.offsets.push_back(0);
  std::int64_t first = 0;
  for (const Document& document : documents) {
    RLUF_ASSERT(document.response_start > 0);
    for (std::size_t i = static_cast<std::size_t>(document.response_start); i < document.tokens.size(); ++i) {
      rows.push_back(first + static_cast<std::int64_t>(i) - 1);  // the state before a token predicts it
      targets.push_back(document.tokens[i]);
    }
    first += static_cast<std::int64_t>(document.tokens.size());
    result.offsets.push_back(static_cast<std::int64_t>(rows.size()));
  }
  result.rows = torch::tensor(rows, torch::kInt64).to(device);
  result.targets = torch::tensor(targets, torch::kInt64).to(device);
  return result;
}

at::Tensor response_token_log_probs(const Llama& model, const std::vector<Document>& documents,
                                    const ResponseRows& response) {
  std::vector<TokenIds> tokens;
  for (const Document& document : documents) tokens.push_back(document.tokens);
  const at::Tensor hidden = model.hidden(PackedBatch::from(tokens, model.device()));
  return model.log_probs(hidden.index_select(0, response.rows), response.targets);
}

std::vector<double> response_log_probs(const Llama& model, const std::vector<Document>& documents,
                                       std::int64_t micro_batch_tokens, const Communicator& comm,
                                       const std::string& stage) {
  std::vector<std::int64_t> lengths;
  for (const Document& document : documents) lengths.push_back(static_cast<std::int64_t>(document.tokens.size()));
  return over_ranks(
      model, lengths, micro_batch_tokens, comm, stage,
      [&](std::int64_t first, std::int64_t last, std::vector<double>& out) {
        const std::vector<Document> mine(documents.begin() + first, documents.begin() + last);
        const ResponseRows response = response_rows(mine, model.device());
        const at::Tensor sums =
            response_token_log_probs(model, mine, response).to(torch::kCPU, torch::kFloat64).cumsum(0);
        const auto before = [&](std::int64_t row) { return row == 0 ? 0.0 : sums[row - 1].item<double>(); };
        for (std::int64_t i = first; i < last; ++i)
          out[static_cast<std::size_t>(i)] = before(response.offsets[static_cast<std::size_t>(i - first) + 1]) -
                                             before(response.offsets[static_cast<std::size_t>(i - first)]);
      });
}

}  // namespace rluf
