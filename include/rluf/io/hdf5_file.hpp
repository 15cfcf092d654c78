#pragma once
/// Parallel HDF5: RAII handles, whole datasets by hyperslab. Every call checks HDF5's return value.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rluf/parallel/communicator.hpp"
#include "rluf/parallel/process_grid.hpp"

namespace rluf {

/// An open HDF5 file. Types: float32, float64, int32, int64, uint8 and bfloat16 (stored as int16 with attribute
/// dtype="bfloat16"); strings as attributes or uint8 datasets.
class Hdf5File {
 public:
  /// Creates `path`.part; commit() flushes, fsyncs and renames it. @collective over comm
  static Hdf5File create(const std::string& path, const Communicator& comm);
  /// Opens for reading; every rank may then read what it wants independently. @collective over comm
  /// @throws Error(kBadInput) missing, Error(kBadData) not HDF5 or truncated
  static Hdf5File open(const std::string& path, const Communicator& comm);
  Hdf5File(Hdf5File&&) noexcept;
  ~Hdf5File();
  void commit();  ///< @collective
  /// Closes it as `path`.part, for take_up(). @collective
  void leave();
  /// Opens `path`.part, which create() and leave() made, for more datasets and commit(). @collective over comm
  static Hdf5File take_up(const std::string& path, const Communicator& comm);

  /// @collective creates a dataset of a global shape
  void create_dataset(const std::string& name, at::ScalarType type, const std::vector<std::int64_t>& global_shape);
  /// @collective each rank writes rows [first_row, first_row + local.size(0)); empty parts are allowed
  void write_rows(const std::string& name, std::int64_t first_row, const at::Tensor& local);
  bool has(const std::string& name) const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  at::ScalarType type(const std::string& name) const;
  /// Where a dataset's first byte lies in the file; rows follow each other. Only of a dataset that has elements.
  /// @unit bytes
  std::int64_t offset(const std::string& name) const;
  std::vector<std::string> names() const;  ///< all datasets, with their groups, sorted
  /// Independent read of rows [first, last).
  at::Tensor read_rows(const std::string& name, std::int64_t first, std::int64_t last) const;
  at::Tensor read(const std::string& name) const;
  /// @collective string attribute of the file's root
  void write_attribute(const std::string& name, const std::string& text);
  std::string read_attribute(const std::string& name) const;
  const std::string& path() const { return path_; }
  static std::string library_version();  ///< "1.10.8 (parallel)"

 private:
  struct Impl;
  explicit Hdf5File(std::unique_ptr<Impl> impl, std::string path);
  void close();
  std::unique_ptr<Impl> impl_;
  std::string path_;
};

}  // namespace rluf
