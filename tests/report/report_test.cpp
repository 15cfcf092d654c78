// The whole page for an empty run directory and for single tables; tests/pipeline looks at the page of a real run.
#include "rluf/pipeline/report/report.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

class ReportTest : public testing::Test {
 protected:
  void SetUp() override { folder_ = fs::temp_directory_path() / ("rluf_report_" + std::to_string(getpid())); }
  void TearDown() override { fs::remove_all(folder_); }
  std::string page(const std::map<std::string, Json>& tables) {
    const Communicator comm = Communicator::self();
    const ProcessGrid grid{comm, comm, Communicator::self(), Communicator::self(), comm};
    const RunDirectory directory(folder_.string(), comm);
    for (const auto& [name, table] : tables) directory.write_table(name, table);
    const RunOptions run;
    const ModelOptions model;
    run_report({}, {run, model, directory, grid, at::Device(at::kCPU)});
    std::ifstream file(folder_ / "report.html");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  fs::path folder_;
};

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_F(ReportTest, NamesEveryStageThatIsMissing) {
  const std::string html = page({});
  for (const char* stage : {"signals", "dataset", "reward", "evaluate", "policy", "validate"})
    EXPECT_NE(html.find(std::string("The stage ") + stage + " has not been run"), std::string::npos) << stage;
  EXPECT_EQ(html.find("http://"), html.find("http://www.w3.org")) << "self-contained: nothing is loaded from elsewhere";
}

Json figure(double value, double low, double high) { return {{"value", value}, {"low", low}, {"high", high}}; }

TEST_F(ReportTest, SummaryReadsTheIntervals) {
  Json arms = Json::array(), comparisons = Json::array(), differences = Json::array();
  for (const auto& [name, weight] :
       std::vector<std::pair<std::string, Json>>{{"reference", nullptr}, {"policy_w0.0", 0.0}, {"policy_w0.3", 0.3}})
    arms.push_back({{"name", name}, {"love_weight", weight}, {"closing_rate", figure(0.02, 0.01, 0.03)}});
  comparisons.push_back({{"name", "policy_w0.3"},
                         {"to", "policy_w0.0"},
                         {"love_rate_lift", figure(0.28, 0.1, 0.46)},
                         {"closing_rate_difference", figure(-0.01, -0.02, -0.001)}});
  differences.push_back(
      {{"name", "policy_w0.3"}, {"to", "policy_w0.0"}, {"helpfulness_reward", figure(0.01, -0.02, 0.04)}});
  const Json table{{"prompts", 10},
                   {"samples_per_prompt", 1},
                   {"arms", arms},
                   {"differences", differences},
                   {"offline_online", nullptr},
                   {"ab",
                    {{"arms", arms},
                     {"comparisons", comparisons},
                     {"users", 100},
                     {"responses", 300},
                     {"responses_per_user", 3},
                     {"design_effect", 1.5},
                     {"alpha", 0.05},
                     {"power", 0.8},
                     {"users_needed", Json::array()},
                     {"sample_ratio", {{"chi_square", 90.0}, {"degrees_of_freedom", 2}, {"p", 1e-9}}}}}};
  const std::string html = page({{"validation", table}});
  EXPECT_NE(html.find("ship policy_w0.3: it gains 28.0 [10.0, 46.0] % of love"), std::string::npos);
  EXPECT_NE(html.find("safety was not measured"), std::string::npos);
  EXPECT_NE(html.find("<td>+28 %</td><td>+28 [+10, +46] %</td><td>up</td>"), std::string::npos) << html;
  EXPECT_NE(html.find("<td>down</td>"), std::string::npos);
  EXPECT_NE(html.find("+0.01 [-0.02, +0.04]</td><td>no change seen"), std::string::npos);
  EXPECT_NE(html.find("sample-ratio mismatch"), std::string::npos);
  EXPECT_GE(count_of(html, "policy_w0.3 against policy_w0.0"), 2);
}

}  // namespace
}  // namespace rluf
