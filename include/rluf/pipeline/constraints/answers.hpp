#pragma once
/// Exact answers to mathematical questions: pure functions. A final answer must stand in one of three forms, as in
/// GSM8K and MATH: the last \boxed{...}, the last line that begins with ####, or "the answer is ..." (also "answer:
/// ...") in the last sentence that has a word. Anything else is no answer. @source CGPO (arXiv 2409.20370), appendix B
#include <optional>
#include <string>
#include <string_view>

namespace rluf {

/// The final answer as it is written; nothing if there is none in the required form.
std::optional<std::string> final_answer(std::string_view response);

/// Whether two answers are the same: numbers by their exact value ("1,000.50", "\frac{1}{2}", "1/2", "$3", "50\%"),
/// anything else by its letters without spaces, dollars and a full stop, in any case.
bool same_answer(std::string_view one, std::string_view other);

}  // namespace rluf
