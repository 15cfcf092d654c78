#pragma once
/// The interaction log, dealt out by users: every rank holds all rows of its users.
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "rluf/parallel/communicator.hpp"
#include "rluf/pipeline/signals/interaction.hpp"

namespace rluf {

struct UserLog {
  std::vector<std::string> signals;    ///< logged ones in the order of their names, then derived ones
  std::size_t num_logged = 0;          ///< of `signals`
  std::vector<std::string> use_cases;  ///< the most frequent first; what is rare shares the last one, "(others)"
  std::map<std::string, std::int64_t> not_binary;  ///< fields left out since some rows hold neither 0 nor 1
  std::vector<Interaction> rows;                   ///< of this rank's users, by (user, timestamp, line)
  std::int64_t read = 0, duplicates = 0;           ///< of all ranks; used rows are read - duplicates
  std::int64_t first_time = 0, last_time = 0;      ///< of all ranks @unit seconds
};

/// Reads the log in one pass, each rank its share of the lines, and sends rows to the ranks that hold their users. Of
/// exact duplicates the first in (timestamp, line) stays, as in the dataset stage. `max_rows` 0: all.
/// @memory of a rank: its share of the rows, 80 bytes each, three times while they travel
/// @collective @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used, or without rows
UserLog read_user_log(const std::string& path, std::int64_t max_rows, const std::string& user_key,
                      const std::string& retention, const Communicator& comm);

/// The same of the rows that this rank has read. @collective
UserLog user_log_of(const InteractionReader& reader, std::vector<Interaction> mine, const Communicator& comm);

/// Runs action(rows of one user, in order of time) for every user.
void for_each_user(std::span<const Interaction> rows, const std::function<void(std::span<const Interaction>)>& action);
void for_each_user(std::span<Interaction> rows, const std::function<void(std::span<Interaction>)>& action);

/// Users fall into so many parts by their hash; a part is with one rank, whatever their number.
constexpr int kUserParts = 1024;
int part_of_user(std::uint64_t user);
int rank_of_part(int part, int num_ranks);

}  // namespace rluf
