#include "rluf/core/error.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(Error, CarriesItsExitCodeAndReadsAsProblemWhyRemedy) {
  try {
    fail_data("row 7 has no text", "the loss would be undefined", "remove the row");
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_STREQ(error.what(), "row 7 has no text (the loss would be undefined): remove the row");
  }
  EXPECT_THROW(fail_input("a", "b", "c"), Error);
}

TEST(Error, AssertNamesThePlace) {
  RLUF_ASSERT(1 + 1 == 2);
  try {
    RLUF_ASSERT(1 + 1 == 3);
    FAIL() << "did not throw";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("error_test.cpp"), std::string::npos);
  }
}

TEST(Concat, PrintsLikeStreams) { EXPECT_EQ(concat("a", 1, ' ', 2.5, true), "a1 2.51"); }

}  // namespace
}  // namespace rluf
