#pragma once
/// A group of ranks. Host tensors travel by MPI, device tensors by NCCL, behind the same calls.
/// Every member is collective over the group unless its comment says otherwise.
#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rluf/core/error.hpp"

namespace rluf {

enum class Reduce { kSum, kMin, kMax };
struct Range;  // process_grid.hpp

/// What tensors cost a communicator: bytes of the whole tensor of each call (what all_reduce sums up, all_gather makes,
/// reduce_scatter takes), the same on all ranks of the group and on every back end.
struct Traffic {
  std::int64_t calls = 0, bytes = 0;
  bool operator==(const Traffic&) const = default;
};

/// A collective as a group's ranks must call it together: the same one, with as many bytes. Small exchanges of numbers
/// and text, whose bytes depend on what happens, count as 0 bytes.
struct CollectiveCall {
  std::int64_t group = 0;  ///< number of the communicator among all
  std::string collective;
  std::int64_t bytes = 0;
  bool operator==(const CollectiveCall&) const = default;
};
using CollectiveLog = std::vector<CollectiveCall>;

/// A collective that goes on beside other work. The ranks of its group start it, like any other, in the same order.
/// Only an error may destroy one that nobody has waited for: its memory is then left to it.
class PendingCollective {
 public:
  PendingCollective();  ///< of nothing
  PendingCollective(PendingCollective&&) noexcept;
  PendingCollective& operator=(PendingCollective&&) noexcept;
  ~PendingCollective();
  /// Its result once it is there. To be asked once.
  at::Tensor wait();

 private:
  friend class Communicator;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Communicator {
 public:
  static Communicator world();  ///< duplicate of MPI_COMM_WORLD
  static Communicator self();   ///< this rank alone
  /// Rank `rank` of `size` ranks that are not there: every collective is noted in `log` and returns at once, with what
  /// this rank brought (sums are its own, others' parts of a tensor are left as they are). For walking through a run.
  static Communicator recorded(int rank, int size, std::int64_t group, std::shared_ptr<CollectiveLog> log);
  /// `axis`: how messages about its collectives call it; must live on.
  Communicator split(int color, int key, const char* axis = "part") const;

  int rank() const;      ///< not collective
  int size() const;      ///< not collective
  MPI_Comm mpi() const;  ///< not collective; for HDF5's parallel driver
  void barrier() const;

  double all_reduce(double value, Reduce op = Reduce::kSum) const;
  std::int64_t all_reduce(std::int64_t value, Reduce op = Reduce::kSum) const;
  void all_reduce(std::vector<double>& values, Reduce op = Reduce::kSum) const;
  void all_reduce(std::vector<std::int64_t>& values, Reduce op = Reduce::kSum) const;
  /// In place; float32, float64, bfloat16 (host: summed in float32), int64; CPU or CUDA, contiguous.
  /// @throws std::logic_error for other types
  void all_reduce(at::Tensor& tensor, Reduce op = Reduce::kSum) const;
  void broadcast(at::Tensor& tensor, int root) const;
  /// Rank r has rows[r] up to date; afterwards everyone has all of them. Contiguous, CPU or CUDA.
  void all_gather_rows(at::Tensor& tensor, const std::vector<Range>& rows) const;
  /// The flat parts of all ranks one after another. @shape mine [counts[rank]] -> [sum of counts]; CPU or CUDA
  at::Tensor all_gather(const at::Tensor& mine, const std::vector<std::int64_t>& counts) const;
  /// The sum over all ranks of this rank's part. @shape parts [sum of counts] -> [counts[rank]]; float32, int64,
  /// bfloat16. Host: added in the order of the ranks, bfloat16 in float32 and rounded once
  at::Tensor reduce_scatter(const at::Tensor& parts, const std::vector<std::int64_t>& counts) const;
  /// The same beside other work: on the host by MPI's nonblocking calls, on a device in a stream of its own. The given
  /// tensors may be overwritten when it has been waited for.
  PendingCollective start_all_gather(const at::Tensor& mine, const std::vector<std::int64_t>& counts) const;
  PendingCollective start_reduce_scatter(const at::Tensor& parts, const std::vector<std::int64_t>& counts) const;
  /// By collective: all_reduce, all_gather (with all_gather_rows), reduce_scatter, broadcast of tensors since the
  /// start.
  const std::map<std::string, Traffic>& traffic() const;  ///< not collective
  std::string broadcast(const std::string& text, int root) const;
  /// Everyone's values in the order of ranks.
  std::vector<double> all_gather(const std::vector<double>& mine) const;
  std::vector<std::int64_t> all_gather(const std::vector<std::int64_t>& mine) const;
  std::vector<std::string> all_gather(const std::string& mine) const;
  /// Sum over the ranks before this one.
  std::int64_t exclusive_scan(std::int64_t value) const;
  /// Sends `to[r]` (bytes) to rank r, returns what each rank sent here.
  std::vector<std::string> all_to_all(const std::vector<std::string>& to) const;

 private:
  struct Impl;
  explicit Communicator(std::shared_ptr<Impl> impl);
  template <class T>
  void reduce_numbers(std::vector<T>& values, Reduce op) const;
  /// One that is done.
  PendingCollective pending(const char* collective, const at::Tensor& from, const at::Tensor& to) const;
  std::shared_ptr<Impl> impl_;
};

/// An error that every rank of a group knows of: only the rank where it arose (the lowest, if several) speaks of it.
class SharedError : public Error {
 public:
  SharedError(ExitCode code, const std::string& message, int origin, bool is_origin, int num_ranks)
      : Error(code, message), origin_(origin), num_ranks_(num_ranks), is_origin_(is_origin) {}
  int origin() const { return origin_; }  ///< rank in the group
  int num_ranks() const { return num_ranks_; }
  bool is_origin() const { return is_origin_; }

 private:
  int origin_, num_ranks_;
  bool is_origin_;
};

/// The exit code and text of a caught exception.
std::pair<ExitCode, std::string> describe_error(const std::exception_ptr& error);

/// Runs `action` on every rank; if it throws on any, every rank throws a SharedError with the message and exit code of
/// the lowest failing rank. Wrap every phase that can fail on one rank.
/// `action` must not call collectives after a point where it can throw on one rank alone, but for those that begin with
/// a guarded() of the same ranks. @collective
void guarded(const Communicator& comm, const std::function<void()>& action);

}  // namespace rluf
