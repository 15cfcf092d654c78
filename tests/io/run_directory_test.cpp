#include "rluf/io/run_directory.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

class Directory : public testing::Test {
 protected:
  Communicator world = Communicator::world();
  std::string path = testing::TempDir() + "rluf_run_" + std::to_string(world.size());
  void SetUp() override {
    if (world.rank() == 0) std::filesystem::remove_all(path);
    world.barrier();
  }
  std::string metrics(const std::string& file = "metrics.csv") const {
    std::stringstream text;
    text << std::ifstream(path + "/" + file).rdbuf();
    return text.str();
  }
};

TEST_F(Directory, StagesAreDoneOnceAndOnlyWithTheirOptions) {
  const RunDirectory run(path, world);
  EXPECT_FALSE(run.is_done("sft", {{"sft.epochs", 2}}));
  run.mark_done("sft", {{"sft.epochs", 2}});
  EXPECT_TRUE(run.is_done("sft", {{"sft.epochs", 2}}));
  try {
    run.is_done("sft", {{"sft.epochs", 3}});
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("sft.epochs = 3 (was 2)"), std::string::npos);
  }
  run.forget_other("sft", {{"sft.epochs", 2}});
  world.barrier();
  EXPECT_TRUE(run.is_done("sft", {{"sft.epochs", 2}}));
  run.forget_other("sft", {{"sft.epochs", 3}});  // its results are about to change
  world.barrier();
  EXPECT_FALSE(run.is_done("sft", {{"sft.epochs", 2}}));
}

TEST_F(Directory, MetricsAreCutBackToTheRestoredStep) {
  const RunDirectory run(path, world);
  for (int step = 1; step <= 3; ++step) run.append_metrics("love", step, {{"loss", 1.0 / step}});
  run.append_metrics("sft", 3, {{"loss", 5}});
  run.cut_metrics("love", 1);
  world.barrier();
  EXPECT_EQ(metrics().find("time_seconds,stage,step,name,value\n"), 0u);
  EXPECT_NE(metrics().find(",love,1,loss,1\n"), std::string::npos);
  EXPECT_EQ(metrics().find(",love,2,"), std::string::npos);
  EXPECT_NE(metrics().find(",sft,3,loss,5\n"), std::string::npos);
}

TEST_F(Directory, OtherFormsOfTheMetricsAreCutToo) {
  const std::string events = "tensorboard/love/events.out.tfevents.0.rluf";
  const auto append = [&](const std::vector<std::string>& also, int step, double loss) {
    RunDirectory(path, world, {}, also).append_metrics("love", step, {{"loss", loss}});
  };
  append({"jsonl", "tensorboard"}, 1, 0.5);
  world.barrier();
  const std::string first = metrics(events);
  world.barrier();
  append({"jsonl", "tensorboard"}, 300, std::nan(""));
  if (world.rank() == 0)
    for (const std::string& file : {std::string("metrics.csv"), std::string("metrics.jsonl"), events})
      std::ofstream(path + "/" + file, std::ios::app) << "1.0,love,1";  // a start was killed here
  world.barrier();
  EXPECT_NE(metrics("metrics.jsonl").find(R"("stage":"love","step":300,"loss":null})"), std::string::npos);
  EXPECT_GT(metrics(events).size(), first.size() + 40);
  world.barrier();
  RunDirectory(path, world).cut_metrics("love", 299);  // though they are not asked for any more
  world.barrier();
  EXPECT_EQ(metrics(events), first);
  EXPECT_EQ(metrics("metrics.jsonl").find("300"), std::string::npos);
  for (const char* file : {"metrics.csv", "metrics.jsonl"}) EXPECT_EQ(metrics(file).back(), '\n') << file;
  EXPECT_NE(metrics("metrics.jsonl").find(R"("stage":"love","step":1,"loss":0.5})"), std::string::npos);
  EXPECT_EQ(metrics().find("1.0,love"), std::string::npos);
}

TEST_F(Directory, MetricsCsvStandsAloneUnlessMoreIsAskedFor) {
  RunDirectory(path, world).append_metrics("love", 1, {{"loss", 1}});
  world.barrier();
  EXPECT_TRUE(std::filesystem::exists(path + "/metrics.csv"));
  EXPECT_FALSE(std::filesystem::exists(path + "/metrics.jsonl"));
  EXPECT_FALSE(std::filesystem::exists(path + "/tensorboard"));
}

TEST_F(Directory, TablesAreReadBack) {
  const RunDirectory run(path, world);
  run.write_table("t", {{"x", 1}});
  world.barrier();
  EXPECT_TRUE(run.has_table("t"));
  EXPECT_EQ(run.read_table("t"), (Json{{"x", 1}}));
  EXPECT_EQ(metrics("tables/t.csv"), "record,name,value\n,x,1\n");
  EXPECT_THROW(RunDirectory("/proc/no/such/place", world), Error);
}

}  // namespace
}  // namespace rluf
