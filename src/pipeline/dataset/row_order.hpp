#pragma once
/// Rows in one order over all ranks: rank r holds the r-th contiguous part of it, so that no rank holds all.
#include <functional>
#include <utility>

#include "rows.hpp"

namespace rluf {

/// Decides the order; no two rows may have the same one.
using OrderKey = std::pair<std::int64_t, std::int64_t>;
using Order = std::function<OrderKey(const Row&)>;

/// Everyone's rows in that order, dealt out in parts of nearly equal size. @collective
/// @memory bounded: sorted runs wait on the disk and are merged
Rows sort_rows(const Rows& rows, const Order& order, const Communicator& comm);

/// Everyone's rows, dealt out by their keys: those of one key are on one rank, one after another in the order.
/// @collective @memory bounded, as in sort_rows
Rows rows_by_key(const Rows& rows, const Order& order, const Communicator& comm);

/// Everyone's rows, dealt out by their keys; all that have the key of a row which is earlier in the order are marked as
/// dropped, the others as kept. @collective @memory bounded, as in sort_rows
Rows mark_repeated(const Rows& rows, const Order& order, const Communicator& comm);

}  // namespace rluf
