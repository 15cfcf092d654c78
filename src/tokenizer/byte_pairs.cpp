#include "byte_pairs.hpp"

#include <algorithm>
#include <limits>
#include <queue>

namespace rluf {
namespace {
constexpr std::size_t kShortWord = 48;
std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}
}  // namespace

void BytePairs::add_token(std::string bytes, std::int32_t id) {
  if (id >= num_ids()) bytes_.resize(static_cast<std::size_t>(id) + 1);
  bytes_[static_cast<std::size_t>(id)] = bytes;
  ids_.emplace(std::move(bytes), id);
}

void BytePairs::add_merge(std::int32_t left, std::int32_t right, std::int32_t joined, std::int32_t rank) {
  merges_.try_emplace(pair_key(left, right), Merge{rank, joined});
}

void BytePairs::add_merges_by_rank() {
  for (const auto& [bytes, id] : ids_)
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = ids_.find(bytes.substr(0, cut)), right = ids_.find(bytes.substr(cut));
      if (left != ids_.end() && right != ids_.end()) add_merge(left->second, right->second, id, id);
    }
}

void BytePairs::finish() {
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = find(std::string(1, static_cast<char>(byte)));
    num_known_bytes_ += byte_ids_[byte] >= 0 ? 1 : 0;
  }
}

int BytePairs::num_known_bytes() const { return num_known_bytes_; }

std::int32_t BytePairs::find(std::string_view bytes) const {
  const auto found = ids_.find(std::string(bytes));
  return found == ids_.end() ? -1 : found->second;
}

const std::string& BytePairs::bytes(std::int32_t id) const {
  static const std::string nothing;
  return id >= 0 && id < num_ids() ? bytes_[static_cast<std::size_t>(id)] : nothing;
}

const BytePairs::Merge* BytePairs::merge(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePairs::encode(std::string_view word, bool whole_words, TokenIds& out) const {
  if (whole_words) {
    const std::int32_t id = find(word);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
  }
  if (word.size() <= kShortWord) {
    encode_short(word, out);
  } else {
    encode_long(word, out);
  }
}

/// Looks at all pairs again after each merge: fastest for the short words that text is made of.
void BytePairs::encode_short(std::string_view word, TokenIds& out) const {
  struct Symbol {
    std::int32_t id, rank, joined;  ///< rank and result of the merge with the next symbol
  };
  constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  Symbol symbols[kShortWord];
  std::size_t count = 0;
  for (const char c : word)
    if (const std::int32_t id = byte_ids_[static_cast<unsigned char>(c)]; id >= 0) symbols[count++].id = id;
  const auto rate = [&](std::size_t i) {
    const Merge* found = i + 1 < count ? merge(symbols[i].id, symbols[i + 1].id) : nullptr;
    symbols[i].rank = found ? found->rank : kNone;
    symbols[i].joined = found ? found->joined : -1;
  };
  for (std::size_t i = 0; i < count; ++i) rate(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i)
      if (symbols[i].rank < symbols[best].rank) best = i;
    if (symbols[best].rank == kNone) break;
    symbols[best].id = symbols[best].joined;
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    --count;
    rate(best);
    if (best > 0) rate(best - 1);
  }
  for (std::size_t i = 0; i < count; ++i) out.push_back(symbols[i].id);
}

/// A queue of candidate merges over a linked list: n log n for words of any length.
void BytePairs::encode_long(std::string_view word, TokenIds& out) const {
  struct Symbol {
    std::int32_t id;
    std::int64_t before, after;
  };
  struct Candidate {
    std::int32_t rank;
    std::int64_t position;
    std::int32_t left, right;
    bool operator<(const Candidate& other) const {
      return rank > other.rank || (rank == other.rank && position > other.position);
    }
  };
  std::vector<Symbol> symbols;
  for (const char c : word)
    if (const std::int32_t id = byte_ids_[static_cast<unsigned char>(c)]; id >= 0)
      symbols.push_back(
          {id, static_cast<std::int64_t>(symbols.size()) - 1, static_cast<std::int64_t>(symbols.size()) + 1});
  if (symbols.empty()) return;
  symbols.back().after = -1;
  const auto n = static_cast<std::int64_t>(symbols.size());
  std::priority_queue<Candidate> queue;
  const auto offer = [&](std::int64_t left) {
    if (left < 0 || symbols[static_cast<std::size_t>(left)].after < 0) return;
    const Symbol& a = symbols[static_cast<std::size_t>(left)];
    const Symbol& b = symbols[static_cast<std::size_t>(a.after)];
    if (const Merge* found = merge(a.id, b.id)) queue.push({found->rank, left, a.id, b.id});
  };
  for (std::int64_t i = 0; i < n; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<std::size_t>(candidate.position)];
    if (left.id != candidate.left || left.after < 0) continue;  // one of the two was merged meanwhile
    Symbol& right = symbols[static_cast<std::size_t>(left.after)];
    if (right.id != candidate.right) continue;
    left.id = merge(candidate.left, candidate.right)->joined;
    right.id = -1;
    left.after = right.after;
    if (left.after >= 0) symbols[static_cast<std::size_t>(left.after)].before = candidate.position;
    offer(candidate.position);
    offer(left.before);
  }
  for (std::int64_t i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].after)
    out.push_back(symbols[static_cast<std::size_t>(i)].id);
}

}  // namespace rluf
