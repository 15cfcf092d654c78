// Programs that judge well, hang, crash, talk nonsense; on any number of ranks.
#include "rluf/pipeline/judges/external_judge.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// Says satisfied but for what it finds in the question; $1 gets a line a start.
constexpr const char* kProgram = R"sh(#!/bin/sh
echo started >> "$1"
while IFS= read -r line; do
  id=$(printf '%s\n' "$line" | sed 's/.*"id":\([0-9]*\),"prompt".*/\1/' | cut -c 1-9)
  case "$line" in
    *HANG*) sleep 60 ;;
    *CRASH*) kill -9 $$ ;;
    *EXIT*) exit 3 ;;
    *GARBAGE*) echo "well, I like it" ;;
    *NUMBER*) echo 7 ;;
    *WRONG_ID*) echo "{\"id\": 999, \"verdict\": \"satisfied\"}" ;;
    *NO_ID*) echo "{\"verdict\": \"satisfied\"}" ;;
    *MAYBE*) echo "{\"id\": $id, \"verdict\": \"maybe\"}" ;;
    *TWICE*) echo "{\"id\": $id, \"verdict\": \"satisfied\"}
{\"id\": $id, \"verdict\": \"satisfied\"}" ;;
    *bad*) echo "{\"id\": $id, \"verdict\": \"violated\", \"reason\": \"it is bad\"}" ;;
    *) echo "{\"id\": $id, \"verdict\": \"satisfied\"}" ;;
  esac
done
)sh";

class ExternalJudgeTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = comm_.broadcast((fs::temp_directory_path() / ("rluf_judge_" + std::to_string(getpid()))).string(), 0);
    if (comm_.rank() == 0) {
      fs::create_directories(folder_);
      program("judge", kProgram);
    }
    comm_.barrier();
  }
  void TearDown() override {
    comm_.barrier();
    if (comm_.rank() == 0) fs::remove_all(folder_);
  }
  void program(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
    ::chmod((folder_ + "/" + name).c_str(), 0755);
  }
  NamedJudge options() const {
    return {.kind = "external",
            .command = concat(folder_, "/judge \"", folder_, "/my starts\""),
            .seconds = 20};  // for a loaded machine
  }
  std::vector<Verdict> ask(const NamedJudge& options, const std::vector<std::string>& texts) const {
    std::vector<JudgedResponse> responses;
    for (const std::string& text : texts) responses.push_back({&prompt_, text, true, 1, {}, {}});
    return ExternalJudge("program", options, comm_).verdicts(responses);
  }
  /// How often the program was started since the last call.
  int starts() const {
    comm_.barrier();
    int lines = 0;
    std::ifstream file(folder_ + "/my starts");
    for (std::string line; std::getline(file, line);) ++lines;
    comm_.barrier();
    if (comm_.rank() == 0) fs::remove(folder_ + "/my starts");
    comm_.barrier();
    return lines;
  }
  const Communicator comm_ = Communicator::world();
  const std::vector<Message> prompt_ = {{"user", "say \"it\""}};
  std::string folder_;
  static constexpr Verdict kYes = Verdict::kSatisfied, kNo = Verdict::kViolated, kFail = Verdict::kFailed;
};

TEST_F(ExternalJudgeTest, JudgesAllWithOneProgram) {
  std::vector<std::string> texts;
  std::vector<Verdict> expected;
  for (int i = 0; i < 20; ++i) {
    texts.push_back(i % 3 == 0 ? "bad" : "good");
    expected.push_back(i % 3 == 0 ? kNo : kYes);
  }
  texts.push_back("$(touch x); `touch x` ' \" \\ \n \xFF \xF0\x9F");
  expected.push_back(kYes);
  texts.push_back(std::string(300'000, 'x'));  // more than a pipe holds
  expected.push_back(kYes);
  EXPECT_EQ(ask(options(), texts), expected);
  EXPECT_EQ(starts(), 1);
}

TEST_F(ExternalJudgeTest, EveryFailureCountsAsFailedAndTheNextOneIsJudged) {
  NamedJudge o = options();
  o.restarts = 20;
  EXPECT_EQ(ask(o, {"good", "CRASH", "bad", "EXIT", "good", "GARBAGE", "bad", "NUMBER", "WRONG_ID", "NO_ID", "MAYBE",
                    "good"}),
            (std::vector{kYes, kFail, kNo, kFail, kYes, kFail, kNo, kFail, kFail, kFail, kFail, kYes}));
  EXPECT_EQ(starts(), 8);
}

TEST_F(ExternalJudgeTest, TwoLinesNeverJudgeTheNextResponse) {
  const auto verdicts = ask(options(), {"TWICE", "bad", "good"});
  EXPECT_NE(verdicts.at(1), kYes) << "the second line is not the answer to the second question";
  starts();
}

TEST_F(ExternalJudgeTest, HangsEndInTime) {
  NamedJudge o = options();
  o.seconds = 2;
  const double start = now_seconds();
  EXPECT_EQ(ask(o, {"HANG"}), (std::vector{kFail}));
  EXPECT_LT(now_seconds() - start, 50) << "the program would sleep for 60 s";
  starts();
}

TEST_F(ExternalJudgeTest, RestartsAreLimitedInEachRound) {
  NamedJudge o = options();
  o.restarts = 2;
  EXPECT_EQ(ask(o, {"CRASH", "CRASH", "CRASH", "good", "good"}), (std::vector{kFail, kFail, kFail, kFail, kFail}));
  EXPECT_EQ(starts(), 3);
  EXPECT_EQ(ask(o, {"good"}), (std::vector{kYes}));
  starts();
}

TEST_F(ExternalJudgeTest, TwoProgramsJudgeSideBySide) {
  JudgeOptions o{.names = {"one", "length", "two"}, .named = {{"one", options()}, {"two", options()}}};
  if (comm_.rank() == 0)
    program(
        "always",
        "#!/bin/sh\ni=0\nwhile read line; do echo '{\"id\": '$i', \"verdict\": \"satisfied\"}'; i=$((i+1)); done\n");
  comm_.barrier();
  o.named["two"].command = folder_ + "/always";
  const Judges judges = make_judges(o, {.comm = comm_});
  std::vector<JudgedResponse> responses;
  for (const char* text : {"good", "bad", "EXIT", "good"}) responses.push_back({&prompt_, text, true, 1, {}, {}});
  const auto outcomes = judge_responses(judges, responses);
  std::vector<Verdict> one, two;
  for (const JudgeOutcome& outcome : outcomes) {
    one.push_back(outcome.verdicts.at(0));
    two.push_back(outcome.verdicts.at(2));
  }
  EXPECT_EQ(one, (std::vector{kYes, kNo, kFail, kYes}));
  EXPECT_EQ(two, (std::vector{kYes, kYes, kYes, kYes}));
  EXPECT_EQ(starts(), 2) << "the failure of one starts no other";
}

TEST_F(ExternalJudgeTest, ProgramsThatCannotWorkAreBadInput) {
  const auto complaint = [&](const std::string& command) {
    JudgeOptions o{.names = {"tests"}, .named = {{"tests", {.kind = "external", .command = command}}}};
    try {
      o.check();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return std::string(error.what());
    }
    return std::string();
  };
  if (comm_.rank() == 0) {
    std::ofstream(folder_ + "/text") << "no program";
    program("broken", "#!/no/such/interpreter\n");
  }
  comm_.barrier();
  EXPECT_NE(complaint("").find("empty"), std::string::npos);
  EXPECT_NE(complaint(folder_ + "/none").find("missing"), std::string::npos);
  EXPECT_NE(complaint(folder_ + "/text").find("executed"), std::string::npos);
  EXPECT_NE(complaint(folder_).find("executed"), std::string::npos);
  EXPECT_NE(complaint("rluf-no-such-program -x").find("PATH"), std::string::npos);
  EXPECT_EQ(complaint("sh -c true"), "");
  NamedJudge broken = options();
  broken.command = folder_ + "/broken";
  EXPECT_THROW(ask(broken, {"good"}), Error) << "found at its start, on all ranks";
}

TEST_F(ExternalJudgeTest, TheProgramIsKilledWithTheJob) {
  if (comm_.rank() != 0) return;
  program("sleeper", "#!/bin/sh\necho $$ > \"$1\"\nread line\nexec sleep 600\n");
  const pid_t job = ::fork();
  if (job == 0) {
    JudgeProgram judge({folder_ + "/sleeper", folder_ + "/pid"});
    judge.start();
    judge.ask("question", 600);
    ::_exit(0);
  }
  pid_t program = 0;
  for (int i = 0; i < 2000 && program == 0; ++i) {
    ::usleep(10'000);
    std::ifstream(folder_ + "/pid") >> program;
  }
  ASSERT_GT(program, 0);
  EXPECT_EQ(::kill(program, 0), 0);
  ::kill(job, SIGKILL);
  ::waitpid(job, nullptr, 0);
  const auto is_gone = [&] {  // gone, or a zombie that nobody has asked for yet
    std::ifstream file(concat("/proc/", program, "/stat"));
    std::string text;
    return !std::getline(file, text) || text.find(") Z") != text.npos;
  };
  for (int i = 0; i < 2000 && !is_gone(); ++i) ::usleep(10'000);
  EXPECT_TRUE(is_gone());
}

TEST(ExternalProtocol, QuestionsAndAnswers) {
  const std::vector<Message> prompt = {{"user", "hi"}};
  Constraints constraints;
  constraints.metadata = nlohmann::json{{"tests", {1, 2}}};
  const auto question =
      nlohmann::json::parse(external_question(3, {&prompt, "a\nb\xFF", true, 1, {}, {}, &constraints}));
  EXPECT_EQ(question, (nlohmann::json{{"id", 3},
                                      {"prompt", {{{"role", "user"}, {"content", "hi"}}}},
                                      {"response", "a\nb\xEF\xBF\xBD"},
                                      {"constraints", {{"metadata", {{"tests", {1, 2}}}}}}}));
  EXPECT_EQ(external_question(3, {&prompt, "a\nb", true, 1, {}, {}}).find('\n'), std::string::npos);
  std::string problem;
  EXPECT_EQ(external_verdict(R"({"verdict": "satisfied", "id": 3})", 3, problem), Verdict::kSatisfied);
  EXPECT_EQ(external_verdict(R"({"verdict": "violated", "id": 3, "reason": "no"})", 3, problem), Verdict::kViolated);
  EXPECT_EQ(problem, "");
  for (const char* answer : {"", "{}", "[3]", R"({"verdict": true, "id": 3})", R"({"verdict": "satisfied", "id": "3"})",
                             R"({"verdict": "satisfied", "id": 4})"}) {
    problem.clear();
    EXPECT_EQ(external_verdict(answer, 3, problem), Verdict::kFailed) << answer;
    EXPECT_NE(problem, "") << answer;
  }
  const std::string deep = "{\"id\": 3, \"verdict\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_EQ(external_verdict(deep, 3, problem), Verdict::kFailed);
  EXPECT_EQ(command_words("  a \"b c\"d  \"\" e"), (std::vector<std::string>{"a", "b cd", "", "e"}));
}

}  // namespace
}  // namespace rluf
