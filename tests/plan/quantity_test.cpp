#include "rluf/pipeline/plan/quantity.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(NumberText, IsExactWhereThatIsShort) {
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(999), "999");
  EXPECT_EQ(number_text(8192), "8,192");
  EXPECT_EQ(number_text(1234567), "1,234,567");
  EXPECT_EQ(number_text(70553706496.0), "70,553,706,496");
  EXPECT_EQ(number_text(989.4e12), "9.894e14");
  EXPECT_EQ(number_text(4e11), "4e11");
  EXPECT_EQ(number_text(0.65), "0.65");
  EXPECT_EQ(number_text(2e-5), "2e-5");
  EXPECT_EQ(number_text(1.5e-12), "1.5e-12");
  EXPECT_EQ(number_text(1.25e20), "1.25e20");
  EXPECT_EQ(number_text(-12345), "-12,345");
}

TEST(ShortText, HasThreeDigits) {
  EXPECT_EQ(short_text(17638426624, "B"), "17.6 GB");
  EXPECT_EQ(short_text(999.6, "s"), "1 ks");
}

TEST(Quantity, SaysHowItWasComputed) {
  const Quantity D("D", 4), F("F", 1500), T("T", 2);
  const Quantity p = (2 * D * (F + T) + 3 * D * F).as("p");
  EXPECT_EQ(p.value(), 2 * 4 * 1502 + 3 * 4 * 1500);
  EXPECT_EQ(p.derivation(), "p = 2 D (F + T) + 3 D F = 2 x 4 x (1,500 + 2) + 3 x 4 x 1,500 = 30,016");
  EXPECT_EQ((p / T).as("share").derivation(), "share = p / T = 30,016 / 2 = 15,008");
  EXPECT_EQ(D.derivation(), "D = 4");
  EXPECT_EQ((1 * D).as("E").derivation(), "E = D = 4");
  EXPECT_EQ((D + F * 0 / T).as("E").derivation(), "E = D = 4");
  EXPECT_EQ((0 + 1 * D * 2 + 0).as("E").derivation(), "E = D 2 = 4 x 2 = 8");
}

TEST(Quantity, KeepsTheOrderOfOperations) {
  const Quantity a("a", 7), b("b", 3), c("c", 2);
  EXPECT_EQ((a - (b - c)).as("x").derivation(), "x = a - (b - c) = 7 - (3 - 2) = 6");
  EXPECT_EQ((a / (b * c)).as("x").derivation(), "x = a / (b c) = 7 / (3 x 2) = 1.16667");
  EXPECT_EQ((a / b * c).as("x").derivation(), "x = a / b x c = 7 / 3 x 2 = 4.66667");
  EXPECT_EQ(((a + b) * c).as("x").derivation(), "x = (a + b) c = (7 + 3) x 2 = 20");
  EXPECT_EQ(ceil(a / b).as("x").derivation(), "x = ceil(a / b) = ceil(7 / 3) = 3");
  EXPECT_EQ(floor(a / b).as("x").value(), 2);
  EXPECT_EQ(max(a, b * c).as("x").derivation(), "x = max(a, b c) = max(7, 3 x 2) = 7");
  EXPECT_EQ(min(a, b * c).value(), 6);
}

}  // namespace
}  // namespace rluf
