#include "spool.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

constexpr std::size_t kMemoryBytes = std::size_t{1} << 20;

[[noreturn]] void fail_spool(const std::string& beside, const char* what) {
  fail_input(concat("cannot ", what, " a temporary file beside ", beside, ": ", std::strerror(errno)),
             "rows that do not fit in memory wait there", "free space there or check its permissions");
}

}  // namespace

ByteSpool::~ByteSpool() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::int64_t ByteSpool::append(const void* bytes, std::size_t count) {
  if (!memory_.empty() && memory_.size() + count > kMemoryBytes) {
    if (descriptor_ < 0) {
      std::string name = beside_ + ".spool.XXXXXX";
      descriptor_ = mkstemp(name.data());
      if (descriptor_ < 0) fail_spool(beside_, "make");
      unlink(name.c_str());  // without a name it goes away with the process
    }
    for (std::size_t done = 0; done < memory_.size();) {
      const ssize_t wrote =
          pwrite(descriptor_, memory_.data() + done, memory_.size() - done, in_file_ + static_cast<std::int64_t>(done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) fail_spool(beside_, "write");
      done += static_cast<std::size_t>(wrote);
    }
    in_file_ += static_cast<std::int64_t>(memory_.size());
    memory_.clear();
  }
  const std::int64_t start = size();
  memory_.append(static_cast<const char*>(bytes), count);
  return start;
}

void ByteSpool::read(std::int64_t offset, std::size_t count, char* to) const {
  const auto from_file =
      static_cast<std::size_t>(std::clamp<std::int64_t>(in_file_ - offset, 0, static_cast<std::int64_t>(count)));
  for (std::size_t done = 0; done < from_file;) {
    const ssize_t got = pread(descriptor_, to + done, from_file - done, offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_spool(beside_, "read");
    done += static_cast<std::size_t>(got);
  }
  if (from_file == count) return;
  memory_.copy(to + from_file, count - from_file,
               static_cast<std::size_t>(offset + static_cast<std::int64_t>(from_file) - in_file_));
}

Spooled spool_document(ByteSpool& spool, const Document& document) {
  const std::size_t bytes = document.tokens.size() * sizeof(std::int32_t);
  return {spool.append(document.tokens.data(), bytes), static_cast<std::int32_t>(bytes),
          static_cast<std::int32_t>(document.response_start)};
}

Spooled spool_text(ByteSpool& spool, const std::string& text) {
  return {spool.append(text.data(), text.size()), static_cast<std::int32_t>(text.size()), 0};
}

}  // namespace rluf
