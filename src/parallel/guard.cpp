#include <exception>
#include <new>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/communicator.hpp"

namespace rluf {
std::pair<ExitCode, std::string> describe_error(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {known.code(), known.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::kOther,
            "out of memory (the run cannot go on): use more nodes, smaller micro batches or a smaller model"};
  } catch (const std::exception& other) {
    return {ExitCode::kOther, other.what()};
  } catch (...) {
    return {ExitCode::kOther, "an error of unknown type"};
  }
}

void guarded(const Communicator& comm, const std::function<void()>& action) {
  std::exception_ptr error;
  try {
    action();
  } catch (const SharedError& shared) {
    if (shared.num_ranks() == comm.size()) throw;  // from a guarded() inside of this one: everyone has it already
    error = std::current_exception();
  } catch (...) {
    error = std::current_exception();
  }
  const std::int64_t none = comm.size();
  const std::int64_t first_failing = comm.all_reduce(error ? std::int64_t{comm.rank()} : none, Reduce::kMin);
  if (first_failing == none) return;
  const auto [code, message] = error ? describe_error(error) : std::pair<ExitCode, std::string>{};
  const std::string text = comm.broadcast(message, static_cast<int>(first_failing));
  const std::int64_t code_number =
      comm.all_reduce(comm.rank() == first_failing ? static_cast<std::int64_t>(code) : std::int64_t{0}, Reduce::kMax);
  throw SharedError(static_cast<ExitCode>(code_number), text, static_cast<int>(first_failing),
                    comm.rank() == first_failing, comm.size());
}

}  // namespace rluf
