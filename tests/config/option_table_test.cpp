#include "rluf/config/option_table.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

struct Options {
  bool enabled = false;
  std::int64_t rows = 10, offset = 0;
  double share = 0.1, rate = 2e-4;
  std::string path, kind = "small", title = "none", key = "default";
  std::vector<double> weights = {0.0, 0.1};
  std::vector<std::string> names = {"a", "b"};

  OptionTable table() {
    OptionTable table;
    table.section("data", "Rows.");
    table.add("enabled", &enabled, {.text = "whether"});
    table.add("rows", &rows, {.text = "rows to read", .unit = "rows", .low = 0, .high = 1e12});
    table.add("offset", &offset, {.text = "first row"});
    table.add("share", &share, {.text = "a part", .low = 0, .high = 0.9});
    table.add("path", &path, {.text = "a file", .allow_empty = true});
    table.section("train", "Steps | more.");
    table.add("rate", &rate, {.text = "speed", .low = 0});
    table.add("kind", &kind, {.text = "which | size", .choices = {"small", "large"}});
    table.add("title", &title, {.text = "a name"});
    table.add("weights", &weights, {.text = "one each", .low = 0, .high = 100});
    table.add("names", &names, {.text = "names", .allow_empty = true});
    table.add("key", &key, {.text = "a key", .secret = true});
    return table;
  }
};

class OptionTableTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / concat("rluf_config_", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  /// The message of the error that reading causes; empty if there is none.
  std::string complaint(const std::string& ini, const std::vector<std::string>& settings = {}) {
    Options options;
    OptionTable table = options.table();
    try {
      table.read(ini.empty() ? std::vector<std::string>{} : std::vector<std::string>{file("bad.ini", ini)}, settings);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return error.what();
    }
    return "";
  }

  std::filesystem::path folder_;
};

TEST_F(OptionTableTest, LaterFilesAndTheCommandLineOverride) {
  Options options;
  OptionTable table = options.table();
  const auto first = file("first.ini", "[data]\nrows = 5\nshare=0.5\npath = a\n[train]\nweights = 1, 2, 3\n");
  const auto second = file("second.ini", "[train]\nweights = 4\n[data]\nshare = 0.25 # a comment\r\npath = b\n");
  table.read({first, second}, {"data.path=c d=e", "train.names=x y"});
  EXPECT_EQ(options.rows, 5);
  EXPECT_EQ(options.share, 0.25);
  EXPECT_EQ(options.path, "c d=e");
  EXPECT_THAT(options.weights, ElementsAre(4.0)) << "a later list replaces the earlier one";
  EXPECT_THAT(options.names, ElementsAre("x", "y"));
  EXPECT_EQ(table.entries()[1].origin, first + ":2");
  EXPECT_EQ(table.entries()[4].origin, "command line");
  EXPECT_EQ(table.entries()[0].origin, "default");
}

TEST_F(OptionTableTest, UnknownNamesAreErrorsWithPlaceAndNearestName) {
  EXPECT_THAT(complaint("[data]\n\nrosw = 5\n"), AllOf(HasSubstr("bad.ini:3: "), HasSubstr("did you mean data.rows?")));
  EXPECT_THAT(complaint("[train]\nshare = 0.2\n"), HasSubstr("did you mean data.share?"));
  EXPECT_THAT(complaint("rows = 5\n"), AllOf(HasSubstr("bad.ini:1: "), HasSubstr("data.rows")));
  EXPECT_THAT(complaint("", {"data.row=5"}), HasSubstr("did you mean --data.rows?"));
  EXPECT_THAT(complaint("", {"data.en=true"}), HasSubstr("did you mean --data.enabled?")) << "no abbreviations";
  EXPECT_THAT(complaint("", {"zzzzz.qqqqqq=1"}), HasSubstr("rluf options"));
}

/// Boxes, each with a name of the user's.
struct Box {
  std::int64_t size = 1;
  std::string colour = "";
  void describe(OptionTable& table) {
    table.add("size", &size, {.text = "of a box", .unit = "m", .low = 0});
    table.add("colour", &colour, {.text = "of a box", .choices = {"red", "blue"}});
  }
};
struct Shelf {
  std::int64_t length = 3;
  std::map<std::string, Box> boxes;
  OptionTable table() {
    OptionTable table;
    table.section("shelf", "Where boxes stand.").add("length", &length, {.text = "of the shelf"});
    return table.repeated_section("box", "A box.", &boxes);
  }
};

TEST_F(OptionTableTest, SectionsThatUsersName) {
  Shelf shelf;
  OptionTable table = shelf.table();
  table.read({file("a.ini", "[box.top]\nsize = 4\ncolour = red\n[shelf]\nlength = 5\n[box.low-2]\nsize = 2\n"),
              file("b.ini", "[box.top]\nsize = 6\n")},
             {"box.low-2.colour=blue", "box.new.size=9"});
  ASSERT_EQ(shelf.boxes.size(), 3U);
  EXPECT_EQ(shelf.boxes["top"].size, 6) << "a later file overrides";
  EXPECT_EQ(shelf.boxes["top"].colour, "red");
  EXPECT_EQ(shelf.boxes["low-2"].colour, "blue");
  EXPECT_EQ(shelf.boxes["new"].size, 9);
  EXPECT_EQ(shelf.length, 5);
  EXPECT_EQ(kind_of_section("box.top"), "box");
  EXPECT_EQ(kind_of_section("shelf"), "shelf");

  Shelf again;
  again.table().read({file("used.ini", table.print_ini())}, {});
  EXPECT_EQ(again.table().print_ini().find("[box.new]") == std::string::npos, false) << "those that are there are told";
  EXPECT_EQ(again.boxes["top"].size, 6);
  EXPECT_EQ(again.boxes.size(), 3U);
  EXPECT_THAT(Shelf().table().print_markdown(),
              AllOf(HasSubstr("## [box.NAME]\nA box."), HasSubstr("| size | `1` | m | at least 0 | of a box |")));
}

TEST_F(OptionTableTest, SectionsThatUsersNameAreChecked) {
  const auto complaint_of = [&](const std::string& ini, const std::vector<std::string>& settings = {}) -> std::string {
    Shelf shelf;
    try {
      shelf.table().read({file("bad.ini", ini)}, settings);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(complaint_of("[box.a]\nsize = 1\n[box.a]\nsize = 2\n"),
              AllOf(HasSubstr("bad.ini:4: box.a.size"), HasSubstr("line 2")));
  EXPECT_THAT(complaint_of("[box.a]\nsiz = 1\n"),
              AllOf(HasSubstr("bad.ini:2: "), HasSubstr("did you mean box.a.size?")));
  EXPECT_THAT(complaint_of("[box.a]\nsize = -1\n"), HasSubstr("box.a.size = -1 must be at least 0"));
  EXPECT_THAT(complaint_of("[box.a b]\nsize = 1\n"), HasSubstr("letters, digits"));
  EXPECT_THAT(complaint_of("[box.a.b]\nsize = 1\n"), HasSubstr("letters, digits"));
  EXPECT_THAT(complaint_of("[box]\nsize = 1\n"), HasSubstr("unknown option box.size"));
  EXPECT_THAT(complaint_of("", {"box.a.colour=green"}), HasSubstr("one of red, blue"));
}

TEST_F(OptionTableTest, TwiceInOneFileNamesBothLines) {
  EXPECT_THAT(complaint("[data]\nrows = 5\n[train]\n[data]\nrows = 5\n"),
              AllOf(HasSubstr("bad.ini:5: data.rows"), HasSubstr("line 2")));
}

TEST_F(OptionTableTest, HashesQuotesAndComments) {
  EXPECT_THAT(complaint("[train]\ntitle = run#7 final\n"), AllOf(HasSubstr("bad.ini:2: "), HasSubstr("double quotes")));
  EXPECT_THAT(complaint("; no\n"), HasSubstr("comments start with #"));
  EXPECT_THAT(complaint("[train]\ntitle = a\\\nb c\n"), HasSubstr("not continued"));
  EXPECT_THAT(complaint("[train]\ntitle = \"a\n"), HasSubstr("not closed"));
  EXPECT_THAT(complaint("[train]\ntitle = \"a\" b\n"), HasSubstr("closing quote"));
  EXPECT_THAT(complaint("[train\ntitle = a\n"), HasSubstr("bad.ini:1: "));
  EXPECT_THAT(complaint("[tra#in]\ntitle = a\n"), HasSubstr("bad.ini:1: cannot read the line: [tra#in]"));
  EXPECT_THAT(complaint("[train.]\ntitle = a\n"), AllOf(HasSubstr("bad.ini:2: "), HasSubstr("is read as train.title")));
  EXPECT_THAT(complaint(std::string("[train]\0\n", 9)), HasSubstr("not a text file"));
  Options options;
  options.table().read({file("good.ini", "# x\n[train] # y\ntitle = \"run#7 final \" # z\n[data]\npath = a b # c\n")},
                       {});
  EXPECT_EQ(options.title, "run#7 final ");
  EXPECT_EQ(options.path, "a b");
}

TEST_F(OptionTableTest, EmptyValues) {
  EXPECT_THAT(complaint("[train]\ntitle =\n"), HasSubstr("train.title has no value"));
  EXPECT_THAT(complaint("[data]\nrows = # none\n"), HasSubstr("data.rows has no value"));
  EXPECT_THAT(complaint("", {"data.rows="}), HasSubstr("has no value"));
  EXPECT_THAT(complaint("", {"data.enabled"}), HasSubstr("--data.enabled=VALUE"));
  Options options;
  options.path = "x";
  options.table().read({file("good.ini", "[data]\npath =\n")}, {"train.names="});
  EXPECT_EQ(options.path, "");
  EXPECT_TRUE(options.names.empty());
}

TEST_F(OptionTableTest, NumbersAreCheckedToTheLastLetter) {
  for (const char* text : {"1e3x", "1e3", "1.5", "-1", "99999999999999999999", "1_000", "+5", "0x10", "five", "1 000"})
    EXPECT_THAT(complaint("", {concat("data.rows=", text)}), AllOf(HasSubstr("data.rows"), HasSubstr("rows to read")))
        << text;
  for (const char* text : {"0.5x", "nan", "inf", "1.0", "-0.1", "1e999", "0,5"})
    EXPECT_THAT(complaint("", {concat("data.share=", text)}), HasSubstr("data.share")) << text;
  for (const char* text : {"True", "yes", "1", "TRUE", "on"})
    EXPECT_THAT(complaint("", {concat("data.enabled=", text)}), HasSubstr("true or false")) << text;
  EXPECT_THAT(complaint("", {"train.kind=smal"}),
              AllOf(HasSubstr("one of small, large"), HasSubstr("did you mean small?")));
  EXPECT_THAT(complaint("", {"train.weights=0.1, -1"}), HasSubstr("0 to 100"));
  EXPECT_THAT(complaint("", {"train.weights=0.1,,1"}), HasSubstr("train.weights"));
  EXPECT_THAT(complaint("", {"train.title=a\"b"}), HasSubstr("double quote"));
  Options options;
  options.table().read({}, {"data.rows=1000000", "data.offset=-9223372036854775808", "data.enabled=true",
                            "train.rate=1e-3", "train.weights=0.5 1e-2"});
  EXPECT_EQ(options.rows, 1000000);
  EXPECT_EQ(options.offset, std::numeric_limits<std::int64_t>::min());
  EXPECT_TRUE(options.enabled);
  EXPECT_EQ(options.rate, 1e-3);
  EXPECT_THAT(options.weights, ElementsAre(0.5, 0.01));
}

TEST_F(OptionTableTest, EnvironmentVariablesAreExpanded) {
  setenv("RLUF_TEST_PLACE", "/somewhere", 1);
  unsetenv("RLUF_TEST_NOWHERE");
  Options options;
  options.table().read({file("good.ini", "[data]\npath = ${RLUF_TEST_PLACE}/x/${RLUF_TEST_PLACE}\n")}, {});
  EXPECT_EQ(options.path, "/somewhere/x//somewhere");
  EXPECT_THAT(complaint("[data]\npath = ${RLUF_TEST_NOWHERE}/x\n"),
              AllOf(HasSubstr("bad.ini:2: "), HasSubstr("${RLUF_TEST_NOWHERE}, which is not set")));
  EXPECT_THAT(complaint("[data]\npath = ${RLUF\n"), HasSubstr("${ without }"));
}

TEST_F(OptionTableTest, SecretsFromTheEnvironmentAreArchivedByName) {
  setenv("RLUF_TEST_PLACE", "hidden", 1);
  Options options;
  OptionTable table = options.table();
  table.read({file("good.ini", "[train]\nkey = a${RLUF_TEST_PLACE}\ntitle = ${RLUF_TEST_PLACE}\n")}, {});
  EXPECT_EQ(options.key, "ahidden");
  EXPECT_THAT(table.print_ini(), AllOf(HasSubstr("key = a${RLUF_TEST_PLACE}\n"), HasSubstr("title = hidden\n")));
  Options again;
  again.table().read({file("used.ini", table.print_ini())}, {});
  EXPECT_EQ(again.key, "ahidden");
}

TEST_F(OptionTableTest, MissingFile) {
  Options options;
  EXPECT_THROW(options.table().read({folder_ / "none.ini"}, {}), Error);
  EXPECT_THROW(options.table().read({folder_}, {}), Error);
}

TEST_F(OptionTableTest, PrintedOptionsReadBackToTheSameValues) {
  Options options;
  OptionTable table = options.table();
  table.read({}, {"data.share=0.30000000000000004", "data.path= a # b ", "train.title=x;y=z", "train.rate=1e-300",
                  "train.weights=0.1,0.2,1e-9", "train.names=", "data.enabled=true"});
  Options again;
  OptionTable second = again.table();
  second.read({file("used.ini", table.print_ini())}, {});
  EXPECT_EQ(second.print_ini(), table.print_ini());
  EXPECT_EQ(again.share, options.share);
  EXPECT_EQ(again.path, " a # b ");
  EXPECT_EQ(again.title, "x;y=z");
  EXPECT_EQ(again.weights, options.weights);
  EXPECT_TRUE(again.names.empty());
}

TEST_F(OptionTableTest, TheParameterPageHasALineForEveryOption) {
  Options options;
  const std::string page = options.table().print_markdown();
  EXPECT_THAT(page, HasSubstr("## [data]\nRows.\n"));
  EXPECT_THAT(page, HasSubstr("| rows | `10` | rows | 0 to 1000000000000 | rows to read |\n"));
  EXPECT_THAT(page, HasSubstr("| path | (empty) |  |  | a file |\n"));
  EXPECT_THAT(page, HasSubstr("| kind | `small` |  | one of small, large | which \\| size |\n"));
}

TEST(NearestName, FindsTyposAndBeginnings) {
  const std::vector<std::string> commands{"simulate", "dataset", "reward", "run", "report"};
  EXPECT_EQ(nearest_name("rewrad", commands), "reward");
  EXPECT_EQ(nearest_name("sim", commands), "simulate");
  EXPECT_EQ(nearest_name("xyzzy", commands), "");
}

}  // namespace
}  // namespace rluf
