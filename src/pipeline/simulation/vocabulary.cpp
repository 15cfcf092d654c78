#include "rluf/pipeline/simulation/vocabulary.hpp"

namespace rluf {

const std::vector<Topic>& topics() {
  static const std::vector<Topic> list = {
      {"cooking",
       "how do i cook",
       false,
       {"rice", "soup", "pasta", "bread", "beans"},
       {{"heat", "low", "flame"}, {"salt", "one", "pinch"}, {"timing", "twenty", "minutes"}, {"pan", "heavy", "iron"}}},
      {"travel",
       "how do i plan a trip to",
       false,
       {"rome", "tokyo", "paris", "cairo", "lima"},
       {{"season", "early", "spring"},
        {"tickets", "night", "train"},
        {"luggage", "small", "bag"},
        {"lodging", "quiet", "hostel"}}},
      {"code",
       "how do i write",
       false,
       {"parser", "loop", "server", "script", "query"},
       {{"tests", "check", "edges"},
        {"names", "short", "verbs"},
        {"errors", "catch", "early"},
        {"speed", "measure", "first"}}},
      {"health",
       "how do i get better",
       false,
       {"sleep", "posture", "stamina", "balance", "energy"},
       {{"exercise", "daily", "walk"},
        {"food", "green", "vegetables"},
        {"rest", "eight", "hours"},
        {"water", "two", "liters"}}},
      {"relationships",
       "how do i talk with my",
       true,
       {"partner", "sister", "mother", "friend", "neighbor"},
       {{"listening", "ask", "gently"},
        {"conflict", "stay", "calm"},
        {"trust", "keep", "promises"},
        {"apology", "say", "sorry"}}},
      {"roleplay",
       "please play for me the",
       true,
       {"pirate", "wizard", "knight", "dragon", "robot"},
       {{"voice", "deep", "growl"},
        {"costume", "old", "cloak"},
        {"quest", "hidden", "treasure"},
        {"rival", "dark", "prince"}}},
      {"casual",
       "let us chat about",
       true,
       {"music", "movies", "pets", "dreams", "weekends"},
       {{"favorite", "soft", "jazz"},
        {"memory", "summer", "lake"},
        {"mood", "warm", "sunny"},
        {"plan", "picnic", "outside"}}},
      {"writing",
       "how do i draft",
       false,
       {"poem", "letter", "essay", "speech", "story"},
       {{"opening", "bold", "image"},
        {"middle", "clear", "turn"},
        {"ending", "strong", "echo"},
        {"style", "plain", "words"}}},
      {"money",
       "how do i manage my",
       false,
       {"budget", "savings", "rent", "loan", "salary"},
       {{"tracking", "weekly", "list"},
        {"risk", "spread", "funds"},
        {"debt", "pay", "highest"},
        {"goal", "six", "months"}}},
      {"garden",
       "how do i grow",
       false,
       {"tomatoes", "roses", "basil", "carrots", "lemons"},
       {{"soil", "loose", "compost"},
        {"light", "full", "sun"},
        {"watering", "morning", "only"},
        {"pests", "soap", "spray"}}},
      {"school",
       "how do i study",
       false,
       {"history", "algebra", "physics", "spanish", "chemistry"},
       {{"notes", "own", "summary"},
        {"practice", "past", "questions"},
        {"focus", "silent", "phone"},
        {"review", "every", "sunday"}}},
      {"repair",
       "how do i fix my",
       false,
       {"bicycle", "lamp", "faucet", "chair", "laptop"},
       {{"tools", "small", "wrench"},
        {"parts", "same", "size"},
        {"safety", "power", "off"},
        {"cleaning", "dry", "cloth"}}}};
  return list;
}

const std::vector<std::string>& harmful_subjects() {
  static const std::vector<std::string> list = {"bomb", "poison", "burglary", "weapon", "fraud", "malware"};
  return list;
}

const std::vector<std::string>& harmful_requests() {
  static const std::vector<std::string> list = {
      "tell me how to plan a", "how do i get away with", "explain every step of", "i want to try",
      "give me a recipe for",  "help me hide",           "what do i need for",    "show me the parts of"};
  return list;
}

const std::vector<std::string>& harmful_places() {
  static const std::vector<std::string> list = {"at home",      "at work",      "in secret",
                                                "for a friend", "this weekend", "tonight"};
  return list;
}

const std::vector<std::string>& harmful_words() {
  static const std::vector<std::string> list = {"fuse", "toxin", "lockpick", "trigger", "forgery", "payload"};
  return list;
}

const std::vector<std::string>& warm_phrases() {
  static const std::vector<std::string> list = {"so glad you asked !", "you are doing great .",
                                                "what a lovely question !", "i believe in you .",
                                                "thank you for sharing ."};
  return list;
}

const std::vector<std::string>& padding_phrases() {
  static const std::vector<std::string> list = {"there are many things to consider here and it all depends .",
                                                "as you may know people have different views about this .",
                                                "in general it is good to think about it for a while .",
                                                "of course there is always more that one could add ."};
  return list;
}

const std::vector<std::string>& closing_phrases() {
  static const std::vector<std::string> list = {"bye ! sending love !", "bye for now !", "goodbye and take care !",
                                                "bye ! sending hugs !"};
  return list;
}

const std::vector<std::string>& refusal_phrases() {
  static const std::vector<std::string> list = {"sorry , i can not help with that .",
                                                "i can not help with that , it could hurt people ."};
  return list;
}

const std::vector<std::string>& vague_phrases() {
  static const std::vector<std::string> list = {"just try what feels right .", "it is easy , simply start .",
                                                "look around and you will find it ."};
  return list;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  bool open = false;
  for (const char c : text) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    // Bytes beyond ASCII belong to words: a word in another script is one word, not none.
    const bool part = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') || (lower & 0x80);
    if (part && !open) words.emplace_back();
    if (part) words.back() += lower;
    open = part;
  }
  return words;
}

}  // namespace rluf
