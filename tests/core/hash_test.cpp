#include "rluf/core/hash.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(SipHash, PublishedVector) {
  // Key 00..0f, message 00..0e. @source SipHash paper, appendix A
  std::string message;
  for (char c = 0; c < 15; ++c) message += c;
  EXPECT_EQ(siphash({0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull}, message), 0xa129ca6149be45e5ull);
}

TEST(SipHash, KeysGiveOtherHashes) {
  EXPECT_NE(siphash(hash_key("a"), "user"), siphash(hash_key("b"), "user"));
  EXPECT_EQ(siphash(hash_key("a"), "user"), siphash(hash_key("a"), "user"));
}

}  // namespace
}  // namespace rluf
