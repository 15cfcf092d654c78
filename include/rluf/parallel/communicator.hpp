#pragma once
/// A group of ranks. Host tensors travel by MPI, device tensors by NCCL, behind the same calls.
/// Every member is collective over the group unless its comment says otherwise.
#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rluf/core/error.hpp"

namespace rluf {

enum class Reduce { kSum, kMin, kMax };

class Communicator {
 public:
  static Communicator world();  ///< duplicate of MPI_COMM_WORLD
  static Communicator self();   ///< this rank alone
  Communicator split(int color, int key) const;

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
  /// Each rank has rows shard_range(tensor.size(0)) up to date; afterwards everyone has all. Contiguous, CPU or CUDA.
  void all_gather_rows(at::Tensor& tensor) const;
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
  std::shared_ptr<Impl> impl_;
};

/// An error that every rank of a group knows of: only the rank where it arose (the lowest, if several) speaks of it.
class SharedError : public Error {
 public:
  SharedError(ExitCode code, const std::string& message, int origin, bool is_origin)
      : Error(code, message), origin_(origin), is_origin_(is_origin) {}
  int origin() const { return origin_; }  ///< rank in the group
  bool is_origin() const { return is_origin_; }

 private:
  int origin_;
  bool is_origin_;
};

/// The exit code and text of a caught exception.
std::pair<ExitCode, std::string> describe_error(const std::exception_ptr& error);

/// Runs `action` on every rank; if it throws on any, every rank throws a SharedError with the message and exit code of
/// the lowest failing rank. Wrap every phase that can fail on one rank.
/// `action` must not call collectives after a point where it can throw on one rank alone. @collective
void guarded(const Communicator& comm, const std::function<void()>& action);

}  // namespace rluf
