#pragma once
/// What is talked about in the simulated world: topics with subjects, and facts that can be asked for.
#include <string>
#include <vector>

namespace rluf {

/// One thing that can be asked about a topic; an answer covers it by saying both words of the fact.
struct Aspect {
  std::string name;
  std::string first, second;
};

struct Topic {
  std::string use_case;
  std::string request;  ///< "how do i cook"
  bool companionable;   ///< hearts come easier here, whatever the answer
  std::vector<std::string> subjects;
  std::vector<Aspect> aspects;
};

const std::vector<Topic>& topics();
/// Things that must not be helped with.
const std::vector<std::string>& harmful_subjects();
/// How they are asked for, and the circumstances.
const std::vector<std::string>& harmful_requests();
const std::vector<std::string>& harmful_places();
/// Words that only a harmful answer holds.
const std::vector<std::string>& harmful_words();
const std::vector<std::string>& warm_phrases();
const std::vector<std::string>& padding_phrases();
const std::vector<std::string>& closing_phrases();
const std::vector<std::string>& refusal_phrases();
/// An answer that has the right form and covers nothing.
const std::vector<std::string>& vague_phrases();

/// Lower-case words of a text: letters and digits, all else parts them.
std::vector<std::string> words_of(const std::string& text);

}  // namespace rluf
