#pragma once
/// Keyed hashes, which stand for user ids and for texts that may be equal.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace rluf {

/// SipHash-2-4. @source Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012
std::uint64_t siphash(std::array<std::uint64_t, 2> key, std::string_view bytes);
/// 128-bit key of a passphrase.
std::array<std::uint64_t, 2> hash_key(const std::string& passphrase);

}  // namespace rluf
