#include "rluf/core/error.hpp"

namespace rluf {

void fail_input(const std::string& problem, const std::string& why, const std::string& remedy) {
  throw Error(ExitCode::kBadInput, concat(problem, " (", why, "): ", remedy));
}

void fail_data(const std::string& problem, const std::string& why, const std::string& remedy) {
  throw Error(ExitCode::kBadData, concat(problem, " (", why, "): ", remedy));
}

void fail_logic(const char* condition, const char* file, int line) {
  throw std::logic_error(
      concat("check failed: ", condition, " at ", file, ":", line, " (a defect in rluf): please report it"));
}

}  // namespace rluf
