#include "event_file.hpp"

#include <bit>
#include <boost/crc.hpp>
#include <cstring>

namespace rluf {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored as they lie in memory");

constexpr std::size_t kNumberBytes = 8, kChecksumBytes = 4;
// Tags: number of the field * 8 + how it is stored (0: varint, 1: 64 bits, 2: bytes with their length, 5: 32 bits).
constexpr char kWallTime = 1 * 8 + 1, kStep = 2 * 8 + 0, kFileVersion = 3 * 8 + 2, kSummary = 5 * 8 + 2;  // of Event
constexpr char kValue = 1 * 8 + 2;                                                                        // of Summary
constexpr char kTag = 1 * 8 + 2, kSimpleValue = 2 * 8 + 5;                                                // of Value

template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>((value & 127) | 128);
  return bytes + static_cast<char>(value);
}

std::string with_length(char tag, const std::string& content) { return tag + varint(content.size()) + content; }

std::uint32_t masked_checksum(const std::string& bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc32c;
  crc32c.process_bytes(bytes.data(), bytes.size());
  return std::rotr(static_cast<std::uint32_t>(crc32c.checksum()), 15) + 0xa282ead8u;
}

std::string record(const std::string& event) {
  const std::string length = bytes_of(static_cast<std::uint64_t>(event.size()));
  return length + bytes_of(masked_checksum(length)) + event + bytes_of(masked_checksum(event));
}

/// Of an event as event_record and event_file_head write it; the head has none, which is 0.
std::int64_t step_of(const std::string& event) {
  std::size_t at = 1 + kNumberBytes;
  std::uint64_t step = 0;
  if (at >= event.size() || event[at++] != kStep) return 0;
  for (int shift = 0; at < event.size() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(event[at++]);
    step |= static_cast<std::uint64_t>(byte & 127) << shift;
    if (byte < 128) break;
  }
  return static_cast<std::int64_t>(step);
}

}  // namespace

std::string event_file_head(double time_seconds) {
  return record(kWallTime + bytes_of(time_seconds) + with_length(kFileVersion, "brain.Event:2"));
}

std::string event_record(const StepMetrics& metrics) {
  std::string summary;
  for (const auto& [name, value] : metrics.values)
    summary += with_length(kValue, with_length(kTag, name) + kSimpleValue + bytes_of(static_cast<float>(value)));
  return record(kWallTime + bytes_of(metrics.time_seconds) + kStep + varint(static_cast<std::uint64_t>(metrics.step)) +
                with_length(kSummary, summary));
}

std::string events_until(const std::string& file, std::int64_t step) {
  constexpr std::size_t kFrame = kNumberBytes + 2 * kChecksumBytes;
  std::string kept;
  for (std::size_t at = 0; file.size() - at >= kFrame;) {
    std::uint64_t length = 0;
    std::memcpy(&length, file.data() + at, sizeof length);
    if (length > file.size() - at - kFrame) break;  // half-written
    if (step_of(file.substr(at + kNumberBytes + kChecksumBytes, length)) <= step)
      kept += file.substr(at, kFrame + length);
    at += kFrame + length;
  }
  return kept;
}

}  // namespace rluf
