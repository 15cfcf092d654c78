#pragma once
/// One INI file as a list of settings with their lines. Private to the config room.
#include <string>
#include <vector>

namespace rluf {

struct IniSetting {
  std::string name;  ///< section.key
  std::string value;
  long line = 0;
};

/// The settings of a file, in order. @throws Error(kBadInput) "FILE:LINE: ..." for anything but [section], key = value,
/// # comments and blank lines, and for a key that is given twice
std::vector<IniSetting> read_ini_file(const std::string& path);

}  // namespace rluf
