#pragma once
/// Options: each is a plain struct member with its default, described once beside it (unit, range, text).
/// A room's struct lists its members in `void describe(OptionTable&)`; files, command line, --help, --print-config,
/// used.ini and inputs/README.md all come from that one list.
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace rluf {

/// What a user must know of an option beside its name and default.
struct OptionText {
  std::string text;                                       ///< one sentence
  std::string unit = "";                                  ///< "tokens", "seconds", ...; empty: none
  double low = -std::numeric_limits<double>::infinity();  ///< smallest allowed number
  double high = std::numeric_limits<double>::infinity();  ///< largest allowed number
  std::vector<std::string> choices = {};                  ///< allowed words, if not any
  bool allow_empty = false;                               ///< `key =` with nothing is allowed (strings and lists)
  bool secret = false;  ///< written with ${NAME}, it is archived like that, so that the value stays out of files
};

class OptionTable {
 public:
  /// Where a value goes. Integers are int64 throughout; lists are separated by commas or spaces.
  using Target =
      std::variant<bool*, std::int64_t*, double*, std::string*, std::vector<double>*, std::vector<std::string>*>;
  struct Entry {
    std::string section, key;  ///< as in the file: [section] key = value
    Target target;
    OptionText text;
    std::string default_value;       ///< printed form
    std::string origin = "default";  ///< "default", "FILE:LINE" or "command line"
    std::string written;             ///< as it was given, before ${NAME} was expanded
    std::string name() const { return section + "." + key; }
  };

  /// Options added from now on belong to `section`; `text` heads its part of the parameter page.
  OptionTable& section(const std::string& name, const std::string& text);
  OptionTable& add(const std::string& key, Target target, OptionText text);
  /// A section that may stand there any number of times, each time with a name that the user chooses: [kind.NAME]. A
  /// setting of a new name makes its Options in `all`, whose describe() adds them; those that are there have theirs.
  template <class Options>
  OptionTable& repeated_section(const std::string& kind, const std::string& text, std::map<std::string, Options>* all) {
    repeated_.push_back({kind, text,
                         [all](OptionTable& table, const std::string& name) { (*all)[name].describe(table); },
                         [](OptionTable& table) { Options().describe(table); }});
    for (const auto& [name, unused] : *all) add_repeated(repeated_.back(), name);
    return *this;
  }

  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<std::pair<std::string, std::string>>& sections() const { return sections_; }

  /// Reads the files in order, then the command-line settings ("section.key=value"); later ones override earlier ones.
  /// @throws Error(kBadInput) naming file, line and the nearest known name for unknown, repeated, empty, abbreviated,
  ///         malformed or out-of-range settings
  void read(const std::vector<std::string>& ini_files, const std::vector<std::string>& settings);
  /// The effective options as an INI file that reads back to the same values.
  std::string print_ini() const;
  /// The parameter page (Markdown).
  std::string print_markdown() const;
  /// Current value of an entry in the form that read() accepts.
  static std::string value_text(const Entry& entry);

 private:
  struct Repeated {
    std::string kind, text;
    std::function<void(OptionTable&, const std::string& name)> describe;
    std::function<void(OptionTable&)> describe_example;  ///< of defaults that are gone afterwards
  };
  void add_repeated(const Repeated& repeated, const std::string& name);
  Entry* find(const std::string& name);
  /// The entry; of a repeated section it is made, if its section has such a key.
  Entry& find_or_make(const std::string& name, const std::string& shown, const std::string& place);
  std::vector<Entry> entries_;
  std::vector<std::pair<std::string, std::string>> sections_;
  std::vector<Repeated> repeated_;
};

/// "judge" of the repeated section "judge.NAME"; another section's name as it is.
std::string kind_of_section(const std::string& section);

/// The candidate nearest to `word` by edit distance; empty if none is near. Used for unknown options and commands.
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace rluf
