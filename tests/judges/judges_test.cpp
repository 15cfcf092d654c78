#include "rluf/pipeline/judges/judges.hpp"

#include <gmock/gmock.h>

#include <stdexcept>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;

Verdict ask(const std::string& judge, const JudgedResponse& response, JudgeOptions options = {}) {
  options.names = {judge};
  const JudgeTools tools{.closing_phrases = "bye, sending love", .refusal_phrases = "I cannot"};
  return judge_responses(make_judges(options, tools), {response}).at(0).verdicts.at(0);
}
JudgedResponse said(const std::string& text, bool finished = true) { return {nullptr, text, finished, 5, {}, {}}; }

TEST(Judges, WellFormed) {
  EXPECT_EQ(ask("well_formed", said("Fine.")), Verdict::kSatisfied);
  EXPECT_EQ(ask("well_formed", said("Fine.", false)), Verdict::kViolated);
  EXPECT_EQ(ask("well_formed", said("")), Verdict::kViolated);
  EXPECT_EQ(ask("well_formed", said(" \n\xC2\xA0")), Verdict::kViolated);
  EXPECT_EQ(ask("well_formed", said("cut \xF0\x9F")), Verdict::kViolated);
}

TEST(Judges, Length) {
  JudgeOptions options{.min_words = 2, .max_words = 3};
  EXPECT_EQ(ask("length", said("one"), options), Verdict::kViolated);
  EXPECT_EQ(ask("length", said("one two"), options), Verdict::kSatisfied);
  EXPECT_EQ(ask("length", said("one two three four"), options), Verdict::kViolated);
  EXPECT_EQ(ask("length", said("one two"), {.max_tokens = 4}), Verdict::kViolated) << "it has five tokens";
  EXPECT_EQ(ask("length", said(std::string(5'000'000, 'x')), options), Verdict::kViolated);
  options.max_words = 1;
  EXPECT_THROW(ask("length", said("one"), options), Error);
}

TEST(Judges, ForbiddenPhrases) {
  EXPECT_EQ(ask("forbidden_phrases", said("Bye! Sending Love!")), Verdict::kSatisfied)
      << "none are forbidden by default";
  const JudgeOptions options{.forbidden_phrases = "Sending love, \xD0\x9F\xD0\xBE\xD0\xBA\xD0\xB0"};
  EXPECT_EQ(ask("forbidden_phrases", said("bye!  SENDING\nlove!"), options), Verdict::kViolated);
  EXPECT_EQ(ask("forbidden_phrases", said("\xD0\xBF\xD0\xBE\xD0\xBA\xD0\xB0"), options), Verdict::kViolated);
  EXPECT_EQ(ask("forbidden_phrases", said("lovely sending"), options), Verdict::kSatisfied);
  EXPECT_EQ(ask("forbidden_phrases", said(""), options), Verdict::kSatisfied);
}

TEST(Judges, Repetition) {
  std::string looping, huge;
  for (int i = 0; i < 20; ++i) looping += "and then again ";
  for (int i = 0; i < 300000; ++i) huge += "word" + std::to_string(i) + " ";
  EXPECT_EQ(ask("repetition", said(looping)), Verdict::kViolated);
  EXPECT_EQ(ask("repetition", said("Every word here is said only once.")), Verdict::kSatisfied);
  EXPECT_EQ(ask("repetition", said(huge)), Verdict::kSatisfied);
  EXPECT_EQ(ask("repetition", said("")), Verdict::kSatisfied);
}

TEST(Judges, SafetyByThreshold) {
  JudgedResponse response = said("text");
  EXPECT_EQ(ask("safety", response), Verdict::kFailed) << "no safety model";
  response.safety_relative = 0.2;
  EXPECT_EQ(ask("safety", response), Verdict::kSatisfied);
  response.safety_relative = 0.19;
  EXPECT_EQ(ask("safety", response), Verdict::kViolated);
  response.safety_relative = std::nan("");
  EXPECT_EQ(ask("safety", response), Verdict::kFailed);
  response.safety_probability = 0.9;
  EXPECT_EQ(ask("safety", response, {.safety_measure = "probability", .safety_threshold = 0.8}), Verdict::kSatisfied);
  EXPECT_EQ(ask("safety", response, {.safety_measure = "probability", .safety_threshold = 0.95}), Verdict::kViolated);
}

class ThrowingJudge : public RuleJudge {
 public:
  std::string name() const override { return "throwing"; }
  Verdict verdict(const JudgedResponse&) const override { throw std::runtime_error("cannot decide"); }
};

TEST(Judges, AFailureIsNeverSatisfied) {
  Judges judges;
  judges.push_back(std::make_unique<ThrowingJudge>());
  const JudgeOutcome outcome = judge_responses(judges, {said("x")}).at(0);
  EXPECT_FALSE(outcome.satisfied);
  EXPECT_EQ(outcome.verdicts.at(0), Verdict::kFailed);
  EXPECT_TRUE(judge_responses({}, {said("")}).at(0).satisfied) << "no judges, no constraint";
}

TEST(Judges, FactoryRefusesUnknownAndRepeatedNames) {
  EXPECT_THROW(make_judges({.names = {"lenght"}}), Error);
  EXPECT_THROW(make_judges({.names = {"length", "length"}}), Error);
  EXPECT_EQ(make_judges({}).size(), 5U);
}

TEST(Judges, ClosingAndRefusal) {
  EXPECT_EQ(ask("closing", said("Bye! Sending Love!")), Verdict::kViolated);
  EXPECT_EQ(ask("closing", said("The goodbyes")), Verdict::kSatisfied);
  EXPECT_EQ(ask("refusal", said("I  cannot do that.")), Verdict::kViolated);
  EXPECT_EQ(ask("refusal", said("I can.")), Verdict::kSatisfied);
}

TEST(Judges, ConstraintsOfThePrompt) {
  Constraints constraints;
  const auto ask_of = [&](const std::string& judge, const std::string& text) {
    JudgedResponse response = said(text);
    response.constraints = &constraints;
    return ask(judge, response);
  };
  for (const char* judge : {"instructions", "answer", "json", "language"}) {
    EXPECT_EQ(ask_of(judge, "anything"), Verdict::kNotAsked) << judge;
    EXPECT_EQ(ask(judge, said("anything")), Verdict::kNotAsked) << judge;
  }
  constraints.instructions = {{"punctuation:no_comma", nlohmann::json::object()},
                              {"startend:quotation", nlohmann::json::object()}};
  EXPECT_EQ(ask_of("instructions", "\"None here.\""), Verdict::kSatisfied);
  EXPECT_EQ(ask_of("instructions", "\"One, here.\""), Verdict::kViolated);
  EXPECT_EQ(ask_of("instructions", "None here."), Verdict::kViolated) << "all of them count";
  constraints.answer = "1/2";
  EXPECT_EQ(ask_of("answer", "So the answer is 0.5."), Verdict::kSatisfied);
  EXPECT_EQ(ask_of("answer", "So the answer is 0.6."), Verdict::kViolated);
  EXPECT_EQ(ask_of("answer", "It is 0.5."), Verdict::kViolated) << "the form is required";
  constraints.json_schema = nlohmann::json{{"required", {"name"}}};
  EXPECT_EQ(ask_of("json", "{\"name\": 1}"), Verdict::kSatisfied);
  EXPECT_EQ(ask_of("json", "{\"nam\": 1}"), Verdict::kViolated);
  constraints.language = "en";
  EXPECT_EQ(ask_of("language", "This is the way that it is."), Verdict::kSatisfied);
  EXPECT_EQ(ask_of("language", "Das ist der Weg und nicht das Ziel."), Verdict::kViolated);
  EXPECT_EQ(ask_of("language", "42"), Verdict::kFailed) << "undecided is not satisfied";
}

TEST(Judges, NotAskedDoesNotStandInTheWay) {
  const Judges judges = make_judges({.names = {"length", "answer"}});
  const JudgeOutcome outcome = judge_responses(judges, {said("fine")}).at(0);
  EXPECT_TRUE(outcome.satisfied);
  EXPECT_EQ(outcome.verdicts, (std::vector{Verdict::kSatisfied, Verdict::kNotAsked}));
  Constraints none, some;
  some.answer = "1";
  EXPECT_NO_THROW(check_judges_are_asked(judges, {}, {&none, &some}));
  EXPECT_THROW(check_judges_are_asked(judges, {}, {&none, &none}), Error);
}

TEST(Judges, OptionsThatCannotWorkAreRefused) {
  EXPECT_NO_THROW(JudgeOptions{}.check());
  const auto complaint = [](const NamedJudge& judge, const std::string& name = "facts") -> std::string {
    try {
      JudgeOptions{.names = {name}, .named = {{name, judge}}}.check();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(complaint({}), HasSubstr("judge.facts.kind is empty"));
  EXPECT_THAT(complaint({.kind = "external"}), HasSubstr("judge.facts.command is empty"));
  EXPECT_THAT(complaint({.kind = "model"}), HasSubstr("judge.facts.model is empty"));
  EXPECT_THAT(complaint({.kind = "score"}), HasSubstr("judge.facts.model is empty"));
  EXPECT_THAT(complaint({.kind = "score", .model = "folder"}, "length"), HasSubstr("the name of a rule"));
  EXPECT_THAT(complaint({.kind = "score", .model = "folder", .seconds = 3}), HasSubstr("judge.facts.seconds is set"));
  EXPECT_THAT(complaint({.kind = "external", .model = "folder", .command = "true"}), HasSubstr("model is set"));
  EXPECT_THAT(complaint({.kind = "score", .needs = "anwser", .model = "folder"}), HasSubstr("needs names anwser"));
  NamedJudge model{.kind = "model", .model = "folder", .question = "Is it good?"};
  EXPECT_THAT(complaint(model), HasSubstr("no {response}"));
  model.question = "{response}";
  EXPECT_EQ(complaint(model), "");
  model.violated_token = model.satisfied_token;
  EXPECT_THAT(complaint(model), HasSubstr("the same"));
  JudgeOptions unused{.named = {{"facts", {}}}};
  EXPECT_THROW(unused.check(), Error) << "one that does not judge is read too";
}

TEST(NamedJudges, SeveralOfAKindSideBySide) {
  JudgeOptions options{.names = {"harm", "length", "facts", "style"}, .watching = {"tone"}};
  options.named["harm"] = {.kind = "model", .model = "a"};
  options.named["facts"] = {.kind = "model", .model = "a", .question = "{response} {answer} {metadata.gold.text}"};
  options.named["style"] = {.kind = "score", .model = "b", .threshold = 0.7};
  options.named["tone"] = {.kind = "score", .needs = "language", .model = "b"};
  options.named["idle"] = {.kind = "score", .model = "c"};
  EXPECT_NO_THROW(options.check());
  EXPECT_EQ(options.used().size(), 4U) << "idle judges nothing";
  JudgeTools tools;
  std::map<std::string, std::size_t> asked;
  for (const auto& [name, value] : {std::pair{"harm", 0.6}, {"facts", 0.4}, {"style", 0.6}, {"tone", 0.6}})
    tools.measures[name] = [&asked, name = std::string(name), value = value](const auto& responses) {
      asked[name] += responses.size();
      return std::vector<std::optional<double>>(responses.size(), value);
    };
  Constraints gold, half;
  gold.answer = "42";
  gold.metadata = nlohmann::json{{"gold", {{"text", "it"}}}};
  half.answer = "42";
  half.language = "en";
  std::vector<JudgedResponse> responses(3, said("fine"));
  responses[0].constraints = &gold;
  responses[1].constraints = &half;
  const Judges judges = make_judges(options, tools), watching = make_watching_judges(options, tools);
  ASSERT_EQ(judges.size(), 4U);
  EXPECT_EQ(judges[0]->name(), "harm");
  EXPECT_EQ(judges[3]->name(), "style");
  const auto kYes = Verdict::kSatisfied, kNo = Verdict::kViolated, kNotAsked = Verdict::kNotAsked;
  const auto outcomes = judge_responses(judges, responses);
  EXPECT_EQ(outcomes[0].verdicts, (std::vector{kYes, kYes, kNo, kNo}));
  EXPECT_EQ(outcomes[1].verdicts, (std::vector{kYes, kYes, kNotAsked, kNo})) << "no gold answer in its metadata";
  EXPECT_EQ(outcomes[2].verdicts, (std::vector{kYes, kYes, kNotAsked, kNo})) << "no fields at all";
  EXPECT_EQ(judge_responses(watching, responses)[1].verdicts, (std::vector{kYes}));
  EXPECT_EQ(asked, (std::map<std::string, std::size_t>{{"harm", 3}, {"facts", 1}, {"style", 3}, {"tone", 1}}));
  tools.thresholds["style"] = 0.5;
  EXPECT_EQ(judge_responses(make_judges(options, tools), responses)[0].verdicts[3], kYes) << "the fitted one counts";
  EXPECT_THROW(check_judges_are_asked(judges, options, {&half}), Error) << "facts would judge nothing";
  EXPECT_NO_THROW(check_judges_are_asked(judges, options, {&half, &gold}));
  options.names.push_back("fact");
  EXPECT_THROW(make_judges(options), Error) << "unknown";
}

TEST(NamedJudges, FieldsOfAPrompt) {
  Constraints constraints;
  constraints.answer = "4";
  constraints.metadata = nlohmann::json{{"gold", {{"n", 3}}}, {"none", nullptr}};
  EXPECT_EQ(field_text(constraints, "answer"), "4");
  EXPECT_EQ(field_text(constraints, "metadata.gold"), "{\"n\":3}");
  EXPECT_EQ(field_text(constraints, "metadata.gold.n"), "3");
  for (const char* absent : {"language", "task", "metadata.none", "metadata.gold.n.m", "metadata.x"})
    EXPECT_EQ(field_text(constraints, absent), std::nullopt) << absent;
  EXPECT_TRUE(is_field("metadata.a") && is_field("task"));
  EXPECT_FALSE(is_field("response") || is_field("metadata.") || is_field(""));
  EXPECT_EQ(
      (NamedJudge{.kind = "model", .needs = "task", .question = "{ {prompt}{answer} {metadata.a} {json} {language"}
           .fields()),
      (std::vector<std::string>{"task", "answer", "metadata.a"}));
}

TEST(TaskJudges, JudgeTheirTasksAlone) {
  JudgeOptions options{.names = {"length", "forbidden_phrases"}, .max_words = 2, .forbidden_phrases = "bye"};
  options.task_judges = "chat: length; open: ; ";
  const Judges judges = make_judges(options);
  Constraints chat, open, other;
  chat.task = "chat";
  open.task = "open";
  other.task = "other";
  const std::string bad = "bye bye bye";
  std::vector<JudgedResponse> responses(4, said(bad));
  responses[1].constraints = &chat;
  responses[2].constraints = &open;
  responses[3].constraints = &other;
  const auto outcomes = judge_responses(judges, responses);
  EXPECT_EQ(outcomes[0].verdicts, (std::vector{Verdict::kViolated, Verdict::kViolated})) << "no task: all judges";
  EXPECT_EQ(outcomes[1].verdicts, (std::vector{Verdict::kViolated, Verdict::kNotAsked}));
  EXPECT_EQ(outcomes[2].verdicts, (std::vector{Verdict::kNotAsked, Verdict::kNotAsked}));
  EXPECT_TRUE(outcomes[2].satisfied);
  EXPECT_EQ(outcomes[3].verdicts, (std::vector{Verdict::kViolated, Verdict::kViolated}));
  EXPECT_NO_THROW(check_judges_are_asked(judges, options, {&chat, &open, &other}));
  EXPECT_THROW(check_judges_are_asked(judges, options, {&chat, &other}), Error) << "no prompt is open";
  EXPECT_THROW(check_judges_are_asked(judges, options, {&chat, &open}), Error) << "forbidden_phrases judges nothing";
  for (const char* text : {"chat", "chat: lenght", ": length", "chat: length; chat: length", "a b: length"}) {
    options.task_judges = text;
    EXPECT_THROW(options.check(), Error) << text;
  }
}

TEST(WatchingJudges, AreOthersThanThoseThatChoose) {
  JudgeOptions options{.names = {"length"}, .watching = {"repetition", "closing"}};
  options.task_judges = "chat: length";
  const Judges judges = make_watching_judges(options, {.closing_phrases = "bye"});
  ASSERT_EQ(judges.size(), 2U);
  EXPECT_EQ(judges[0]->name(), "repetition");
  EXPECT_EQ(judge_responses(judges, {said("so bye")})[0].verdicts,
            (std::vector{Verdict::kSatisfied, Verdict::kViolated}));
  EXPECT_TRUE(options.has("closing") && options.has("length") && !options.has("safety"));
  EXPECT_NO_THROW(options.check());
  options.watching = {"length"};
  EXPECT_THROW(options.check(), Error) << "it chooses";
  options.watching = {"lenght"};
  EXPECT_THROW(options.check(), Error);
}

}  // namespace
}  // namespace rluf
