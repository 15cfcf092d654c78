#pragma once
/// Rows in one order over all ranks: rank r holds the r-th contiguous part of it, so that no rank holds all.
#include <functional>
#include <utility>
#include <vector>

#include "spool.hpp"

namespace rluf {

/// Decides the order; no two rows may have the same one.
using OrderKey = std::pair<std::int64_t, std::int64_t>;

/// Sorts everyone's rows and deals them out again, in parts of nearly equal size. @collective
/// @memory about three times this rank's rows
void sort_rows(std::vector<Row>& mine, const std::function<OrderKey(const Row&)>& order, const Communicator& comm);

/// For each of this rank's rows whether an earlier one in the order, of any rank, has the same key. @collective
std::vector<bool> repeated_keys(const std::vector<Row>& mine, const Communicator& comm);

}  // namespace rluf
