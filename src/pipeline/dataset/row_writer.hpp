#pragma once
/// Rows to HDF5: each rank writes its part of the order and asks the ranks that parsed its rows for their tokens. All
/// in slices of bounded size.
#include <functional>
#include <string>

#include "rows.hpp"

namespace rluf {

/// Writes text `which` of the rows as DATASET (elements of `type`), row i from element OFFSETS[i] up to OFFSETS[i + 1].
/// `mine`: this rank's part of the order; rows may repeat. @collective
void write_texts(Hdf5File& file, const std::string& dataset, const std::string& offsets, at::ScalarType type,
                 const Rows& mine, std::size_t which, const ByteSpool& spool, const Communicator& comm);
/// tokens, offsets and response_starts of a group. @collective
void write_documents(Hdf5File& file, const std::string& group, const Rows& mine, std::size_t which,
                     const ByteSpool& spool, const Communicator& comm);

/// A column with a value of each row; T: std::int64_t, float. @collective
template <class T>
void write_column(Hdf5File& file, const std::string& name, const Rows& mine, const std::function<T(const Row&)>& value,
                  const Communicator& comm);

}  // namespace rluf
