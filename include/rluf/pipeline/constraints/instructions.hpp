#pragma once
/// Instructions that a text follows or does not, by rules alone: pure functions. Names, arguments and meaning are those
/// of IFEval (Zhou et al., arXiv 2311.07911), of whose 25 types CGPO (arXiv 2409.20370, appendix A) uses 23; the other
/// two are response_language and repeat_prompt. Where IFEval asks a library, a rule stands here: sentences end at . ! ?
/// (not after a title or an initial), words of capitals are parts between white space without punctuation at their
/// ends, languages are those of language.hpp.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

struct Instruction {
  std::string type;          ///< "length_constraints:number_words"
  nlohmann::json arguments;  ///< {"relation": "at least", "num_words": 100}
};

std::vector<std::string> instruction_types();

/// What is wrong with the type or its arguments, with what would be right; empty if nothing is.
std::string complaint_about(const Instruction& instruction);

/// Whether the response follows an instruction about which there is no complaint.
bool follows(const Instruction& instruction, std::string_view response);

}  // namespace rluf
