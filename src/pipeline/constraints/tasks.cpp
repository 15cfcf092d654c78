#include "rluf/pipeline/constraints/tasks.hpp"

#include <set>
#include <sstream>

#include "rluf/core/error.hpp"

namespace rluf {

std::vector<std::pair<std::string, std::string>> parts_by_task(
    const std::string& text, const std::function<void(const std::string& problem)>& fail) {
  std::vector<std::pair<std::string, std::string>> parts;
  std::set<std::string> names;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ';');) {
    if (part.find_first_not_of(" \t") == part.npos) continue;
    const std::size_t colon = part.find(':');
    std::string name, more;
    std::istringstream before(part.substr(0, colon));
    if (colon == part.npos || !(before >> name) || before >> more)
      fail(concat("\"", part, "\" does not begin with a name and a colon"));
    if (!names.insert(name).second) fail(concat("the name ", name, " stands there twice"));
    parts.emplace_back(name, part.substr(colon + 1));
  }
  return parts;
}

}  // namespace rluf
