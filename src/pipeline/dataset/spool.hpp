#pragma once
/// Rows on their way from the ranks that parsed them to the ranks that write them.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "rluf/io/hdf5_file.hpp"
#include "rluf/model/model_options.hpp"

namespace rluf {

/// Bytes of this rank's rows, written at the end: the newest megabyte at most in memory, the rest in an unnamed file.
class ByteSpool {
 public:
  /// The file, if it is needed, is made in the folder of `beside`.
  explicit ByteSpool(const std::string& beside) : beside_(beside) {}
  ~ByteSpool();
  ByteSpool(const ByteSpool&) = delete;
  ByteSpool& operator=(const ByteSpool&) = delete;
  /// @return where the bytes start. @throws Error if the folder is full or not writable
  std::int64_t append(const void* bytes, std::size_t count);
  /// @throws Error if the file cannot be read
  void read(std::int64_t offset, std::size_t count, char* to) const;
  std::int64_t size() const { return in_file_ + static_cast<std::int64_t>(memory_.size()); }

 private:
  std::string beside_, memory_;
  std::int64_t in_file_ = 0;
  int descriptor_ = -1;
};

/// Where one text of a row waits: on which rank is known from the row.
struct Spooled {
  std::int64_t offset = 0;  ///< in its owner's spool
  std::int32_t num_bytes = 0;
  std::int32_t response_start = 0;  ///< @unit tokens
};

/// A row without its texts; 104 bytes, whatever the texts hold.
struct Row {
  std::int64_t line = 0, timestamp = 0, user = 0;
  std::array<std::uint64_t, 2> key{};    ///< hash of what makes two rows duplicates
  double value = 0;                      ///< label or margin
  std::array<std::int32_t, 2> owners{};  ///< the ranks that parsed the texts
  std::int32_t truncated_tokens = 0, dropped_messages = 0;
  std::int32_t dropped = 0;      ///< not 0: read and counted, but not written, for this reason
  std::array<Spooled, 2> texts;  ///< response and facts; chosen and rejected; prompt tokens and text
};

Spooled spool_document(ByteSpool& spool, const Document& document);
Spooled spool_text(ByteSpool& spool, const std::string& text);

}  // namespace rluf
