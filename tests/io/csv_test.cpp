#include "rluf/io/csv.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(Csv, FieldsAreQuotedWhereTheyMust) {
  EXPECT_EQ(csv_field("plain text"), "plain text");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"no\""), "\"say \"\"no\"\"\"");
  EXPECT_EQ(csv_field("two\nlines"), "\"two\nlines\"");
}

TEST(Csv, NestedTablesBecomeRecords) {
  const auto table = nlohmann::json::parse(R"({
    "arms": [{"name": "a, b", "love": {"low": 0.1, "value": 0.25}}, {"name": "c", "love": {"value": null}}],
    "judges": ["length", "safety"], "none": [], "seed": 1, "used": true, "weights": {"x": {"w": 1}, "y": {"w": 2e-9}}})");
  EXPECT_EQ(csv_of(table),
            "record,name,value\n"
            "arms.0,love.low,0.1\narms.0,love.value,0.25\narms.0,name,\"a, b\"\n"
            "arms.1,love.value,\narms.1,name,c\n"
            ",judges.0,length\n,judges.1,safety\n,none,[]\n,seed,1\n,used,true\n"
            "weights.x,w,1\nweights.y,w,2e-09\n");
}

}  // namespace
}  // namespace rluf
