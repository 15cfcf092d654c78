#pragma once
/// A program that answers lines with lines: one child process, started without a shell, that lives as long as it keeps
/// the rules and is killed when this process ends, however that happens. Not collective.
#include <sys/types.h>

#include <string>
#include <vector>

namespace rluf {

/// Words between white space; a part in double quotes is one word.
std::vector<std::string> command_words(const std::string& command);
/// The file that a command's first word names: with a slash as it is, else the first in PATH.
/// @throws Error(kBadInput) if it is missing or may not be executed; `option` is named
std::string find_program(const std::string& word, const std::string& option);

class JudgeProgram {
 public:
  /// `words[0]` is the path of the program.
  explicit JudgeProgram(std::vector<std::string> words) : words_(std::move(words)) {}
  ~JudgeProgram() { end(); }
  JudgeProgram(const JudgeProgram&) = delete;
  JudgeProgram& operator=(const JudgeProgram&) = delete;

  bool is_running() const { return process_ > 0; }
  /// @throws Error(kBadInput) if the file cannot be executed
  void start();
  /// Closes its input, gives it a second to end, and kills its process group.
  void end();

  struct Answer {
    bool came = false;
    std::string text;  ///< the line without its end, or what went wrong
  };
  /// Writes a line (without its end) and waits for one. After anything else than a line in time the program is killed,
  /// since what it says next could be taken for the answer to another question.
  Answer ask(const std::string& line, double seconds);

 private:
  Answer fail(const std::string& problem);
  std::string how_it_ended();
  std::vector<std::string> words_;
  pid_t process_ = -1;
  int input_ = -1, output_ = -1;
  std::string unread_;
};

}  // namespace rluf
