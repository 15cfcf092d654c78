#pragma once
/// Errors that users see, and the exit codes they end in.
#include <sstream>
#include <stdexcept>
#include <string>

namespace rluf {

/// Exit codes of the executable. Job scripts requeue on kStopped only.
enum class ExitCode : int {
  kDone = 0,
  kOther = 1,     ///< a defect or a failure of the machine
  kBadInput = 2,  ///< options, input files, model folders
  kBadData = 3,   ///< rows, data sets, checkpoints
  kAlarm = 4,     ///< the result must not be used: an alarm that is to stop the run
  kStopped = 75,  ///< stopped by signal or walltime, a checkpoint was written
};

/// Joins the parts into one string, as operator<< would print them.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// An error with its exit code; what() reads "problem (why it matters): what to do".
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// Throws an Error worded "problem (why): remedy". @throws Error always
[[noreturn]] void fail_input(const std::string& problem, const std::string& why, const std::string& remedy);
[[noreturn]] void fail_data(const std::string& problem, const std::string& why, const std::string& remedy);

/// Checks what only a defect in rluf can break. @throws std::logic_error naming the place
[[noreturn]] void fail_logic(const char* condition, const char* file, int line);
#define RLUF_ASSERT(condition) ((condition) ? static_cast<void>(0) : ::rluf::fail_logic(#condition, __FILE__, __LINE__))

}  // namespace rluf
