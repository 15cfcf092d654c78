#pragma once
/// Counter-based random streams: every number is a pure function of (seed, purpose, step, example, index), so data
/// order, sampling noise and initial weights do not depend on the number of ranks or on what was drawn before.
#include <array>
#include <cstdint>
#include <vector>

namespace rluf {

/// What a stream is for; streams of different purposes never overlap.
enum class Purpose : std::uint32_t {
  kShuffle = 1,
  kSampling = 2,
  kInitialWeights = 3,
  kSelection = 4,  ///< which negatives to keep
  kBootstrap = 5,
  kSimulation = 6,
  kDropout = 7,
  kSplit = 8,
};

/// Philox 4x32 with 10 rounds. @source Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A stream of random numbers; copying it copies its position.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t step = 0, std::uint64_t example = 0);

  std::uint32_t next_bits();
  /// Uniform in [0, 1) with 53 bits.
  double uniform();
  /// Standard normal (Box-Muller; two uniforms a draw).
  double normal();
  /// Uniform in [0, bound), without bias. @throws std::logic_error if bound is 0
  std::uint64_t below(std::uint64_t bound);

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

/// The order in which an epoch visits `n` examples: a permutation that is a pure function of (seed, epoch).
std::vector<std::int64_t> shuffled_order(std::int64_t n, std::uint64_t seed, std::uint64_t epoch);

}  // namespace rluf
