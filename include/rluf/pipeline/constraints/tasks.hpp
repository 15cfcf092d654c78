#pragma once
/// Tasks are classes of prompts, by their field `task`; options that say something of each are written
/// "math: this; chat: that".
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace rluf {

/// Name of each task and what is said of it, in the order of the text. `fail` gets the problem with a part that names
/// no task, or one that another part has named, and must throw.
std::vector<std::pair<std::string, std::string>> parts_by_task(
    const std::string& text, const std::function<void(const std::string& problem)>& fail);

}  // namespace rluf
