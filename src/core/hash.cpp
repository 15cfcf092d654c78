#include "rluf/core/hash.hpp"

#include <bit>
#include <cstring>

namespace rluf {
namespace {

void sip_round(std::array<std::uint64_t, 4>& v) {
  v[0] += v[1];
  v[1] = std::rotl(v[1], 13) ^ v[0];
  v[0] = std::rotl(v[0], 32);
  v[2] += v[3];
  v[3] = std::rotl(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = std::rotl(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = std::rotl(v[1], 17) ^ v[2];
  v[2] = std::rotl(v[2], 32);
}

}  // namespace

std::uint64_t siphash(std::array<std::uint64_t, 2> key, std::string_view bytes) {
  std::array<std::uint64_t, 4> v{key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
                                 key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull};
  const std::size_t whole = bytes.size() / 8 * 8;
  for (std::size_t i = 0; i <= whole; i += 8) {
    std::uint64_t word = 0;
    if (i < whole) {
      std::memcpy(&word, bytes.data() + i, 8);
    } else {
      if (bytes.size() > whole) std::memcpy(&word, bytes.data() + whole, bytes.size() - whole);
      word |= static_cast<std::uint64_t>(bytes.size()) << 56;
    }
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 4; ++i) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

std::array<std::uint64_t, 2> hash_key(const std::string& passphrase) {
  return {siphash({0, 0}, passphrase), siphash({1, 0}, passphrase)};
}

}  // namespace rluf
