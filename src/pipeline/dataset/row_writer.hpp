#pragma once
/// Rows to HDF5: each rank writes its part of the order and asks the ranks that parsed its rows for their tokens.
#include <vector>

#include "spool.hpp"

namespace rluf {

/// Writes text `which` of the rows as GROUP/DATASET (elements of `type`) with GROUP/OFFSETS. `mine`: this rank's part
/// of the order; rows may repeat. In slices of bounded size. @collective
void write_texts(Hdf5File& file, const std::string& dataset, const std::string& offsets, at::ScalarType type,
                 const std::vector<const Row*>& mine, std::size_t which, const ByteSpool& spool,
                 const Communicator& comm);
/// tokens, offsets and response_starts of a group. @collective
void write_documents(Hdf5File& file, const std::string& group, const std::vector<const Row*>& mine, std::size_t which,
                     const ByteSpool& spool, const Communicator& comm);

/// A column; each rank gives its part of the order. @collective
void write_column(Hdf5File& file, const std::string& name, const std::vector<std::int64_t>& mine,
                  const Communicator& comm);
void write_column(Hdf5File& file, const std::string& name, const std::vector<float>& mine, const Communicator& comm);
void write_column(Hdf5File& file, const std::string& name, const std::vector<double>& mine, const Communicator& comm);

}  // namespace rluf
