#pragma once
/// What a user's next message says of the response before it. Pure function.
#include <string>

namespace rluf {

/// 1 praise, -1 complaint, 0 neither or both alike. English only: words of a small lexicon are counted in the first
/// part of the message, where users react, and turned round by a negation up to three words before ("not helpful",
/// "doesn't work"). Code, other languages and irony are not understood.
int sentiment_of(const std::string& message);

}  // namespace rluf
