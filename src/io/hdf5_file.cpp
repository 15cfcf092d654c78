#include "rluf/io/hdf5_file.hpp"

#include <ATen/ATen.h>
#define H5_USE_110_API 1  // one set of names from HDF5 1.10 to 1.14
#include <hdf5.h>

#include <algorithm>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

/// An HDF5 identifier that closes itself.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(other.id_), close_(other.close_) { other.id_ = -1; }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  hid_t release() {
    const hid_t id = id_;
    id_ = -1;
    return id;
  }

 private:
  hid_t id_;
  Close close_;
};

/// HDF5's own words for the innermost failure.
std::string library_message() {
  std::string text;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
        if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &text);
  return text.empty() ? "HDF5 gives no reason" : text;
}

hid_t check(hid_t id, const std::string& what, const std::string& path) {
  if (id < 0) fail_data(concat(path, ": cannot ", what), library_message(), "check the file and the disk's space");
  return id;
}

void check_status(herr_t status, const std::string& what, const std::string& path) { check(status, what, path); }

/// Stored type: bfloat16 and float16 as their 16 bits.
hid_t stored_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return H5T_NATIVE_FLOAT;
    case at::kDouble:
      return H5T_NATIVE_DOUBLE;
    case at::kInt:
      return H5T_NATIVE_INT32;
    case at::kLong:
      return H5T_NATIVE_INT64;
    case at::kByte:
      return H5T_NATIVE_UINT8;
    case at::kBFloat16:
    case at::kHalf:
      return H5T_NATIVE_INT16;
    default:
      throw std::logic_error(concat("no HDF5 type for ", c10::toString(type)));
  }
}

const char* type_name(at::ScalarType type) { return type == at::kBFloat16 ? "bfloat16" : "float16"; }

std::vector<hsize_t> dimensions(const std::vector<std::int64_t>& shape) { return {shape.begin(), shape.end()}; }

Handle transfer_list(bool collective) {
  Handle list(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
  if (collective) H5Pset_dxpl_mpio(list, H5FD_MPIO_COLLECTIVE);
  return list;
}

Handle access_list(const Communicator& comm) {
  Handle list(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_mpio(list, comm.mpi(), MPI_INFO_NULL);
  H5Pset_all_coll_metadata_ops(list, false);  // reads are independent
  H5Pset_coll_metadata_write(list, true);
  H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110);  // metadata with checksums
  return list;
}

}  // namespace

struct Hdf5File::Impl {
  hid_t file = -1;
  Communicator comm;
  bool writing = false;
  std::string temporary;
  ~Impl() {
    if (file >= 0) H5Fclose(file);
    std::error_code ignored;
    if (writing && comm.rank() == 0) std::filesystem::remove(temporary, ignored);  // never committed
  }
};

Hdf5File::Hdf5File(std::unique_ptr<Impl> impl, std::string path) : impl_(std::move(impl)), path_(std::move(path)) {}
Hdf5File::Hdf5File(Hdf5File&&) noexcept = default;
Hdf5File::~Hdf5File() = default;

std::string Hdf5File::library_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return concat(major, ".", minor, ".", release, " (parallel)");
}

Hdf5File Hdf5File::create(const std::string& path, const Communicator& comm) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  auto impl = std::unique_ptr<Impl>(new Impl{.comm = comm, .writing = true, .temporary = path + ".part"});
  guarded(comm, [&] {
    const auto folder = std::filesystem::path(path).parent_path();
    if (comm.rank() == 0 && !folder.empty()) std::filesystem::create_directories(folder);
  });
  const InCollective here("HDF5 create");
  const Handle access = access_list(comm);
  impl->file = H5Fcreate(impl->temporary.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  guarded(comm, [&] {
    if (impl->file < 0)
      fail_input(concat("cannot create ", path), library_message(), "check the directory's rights and space");
  });
  return Hdf5File(std::move(impl), path);
}

Hdf5File Hdf5File::open(const std::string& path, const Communicator& comm) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    if (!std::filesystem::exists(path))
      fail_input(concat("no file ", path), "an earlier stage makes it", "run that stage first, or check run.directory");
    if (H5Fis_hdf5(path.c_str()) <= 0)
      fail_data(concat(path, " is not an HDF5 file"), "it is of another kind, or broken",
                "remove it and run the stage that makes it");
  });
  auto impl = std::unique_ptr<Impl>(new Impl{.comm = comm});
  const InCollective here("HDF5 open");
  const Handle access = access_list(comm);
  impl->file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  guarded(comm, [&] {
    if (impl->file < 0)
      fail_data(concat("cannot open ", path), library_message(),
                "it is truncated or damaged: remove it and run the stage that makes it");
  });
  return Hdf5File(std::move(impl), path);
}

Hdf5File Hdf5File::take_up(const std::string& path, const Communicator& comm) {
  auto impl = std::unique_ptr<Impl>(new Impl{.comm = comm, .writing = true, .temporary = path + ".part"});
  const Handle access = access_list(comm);
  impl->file = H5Fopen(impl->temporary.c_str(), H5F_ACC_RDWR, access);
  guarded(comm, [&] {
    if (impl->file < 0)
      fail_data(concat("cannot go on writing ", path), library_message(), "the disk may be full: free space");
  });
  return Hdf5File(std::move(impl), path);
}

void Hdf5File::close() {
  const InCollective here("HDF5 flush and close");
  const bool flushed =
      H5Fflush(impl_->file, H5F_SCOPE_GLOBAL) >= 0;  // the only thing that makes ranks sync their writes
  const bool closed = H5Fclose(impl_->file) >= 0;
  impl_->file = -1;
  guarded(impl_->comm, [&] {
    if (!flushed || !closed)
      fail_data(concat("cannot finish ", path_), library_message(), "the disk may be full: free space and run again");
  });
}

void Hdf5File::commit() {
  close();
  guarded(impl_->comm, [&] {
    if (impl_->comm.rank() == 0) publish_file(impl_->temporary, path_);
  });
  impl_->writing = false;
}

void Hdf5File::leave() {
  const InCollective here("HDF5 close");
  const bool closed = H5Fclose(impl_->file) >= 0;  // commit() asks whether it is on the disk
  impl_->file = -1;
  guarded(impl_->comm, [&] {
    if (!closed)
      fail_data(concat("cannot finish ", path_), library_message(), "the disk may be full: free space and run again");
  });
  impl_->writing = false;
}

void Hdf5File::create_dataset(const std::string& name, at::ScalarType type,
                              const std::vector<std::int64_t>& global_shape) {
  const auto dims = dimensions(global_shape);
  const Handle space(
      dims.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
      H5Sclose);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
  H5Pset_create_intermediate_group(links, 1);
  const Handle dataset(H5Dcreate2(impl_->file, name.c_str(), stored_type(type), space, links, creation, H5P_DEFAULT),
                       H5Dclose);
  guarded(impl_->comm, [&] { check(dataset, "create the dataset " + name, path_); });
  if (type == at::kBFloat16 || type == at::kHalf) {
    const std::string text = type_name(type);
    const Handle string_type(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
    H5Tset_size(string_type, text.size());
    const Handle attribute(H5Acreate2(dataset, "dtype", string_type, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    check_status(H5Awrite(attribute, string_type, text.data()), "mark the type of " + name, path_);
  }
}

void Hdf5File::write_rows(const std::string& name, std::int64_t first_row, const at::Tensor& local) {
  const auto global_shape = shape(name);
  if (std::find(global_shape.begin(), global_shape.end(), 0) != global_shape.end())
    return;  // HDF5 has no place for nothing
  const at::Tensor data = local.detach().to(at::kCPU).contiguous();
  const Handle dataset(H5Dopen2(impl_->file, name.c_str(), H5P_DEFAULT), H5Dclose);
  herr_t status = -1;
  if (dataset >= 0) {
    const Handle file_space(H5Dget_space(dataset), H5Sclose);
    std::vector<hsize_t> counts(data.sizes().begin(), data.sizes().end()), starts(counts.size(), 0);
    const Handle memory_space(counts.empty()
                                  ? H5Screate(H5S_SCALAR)
                                  : H5Screate_simple(static_cast<int>(counts.size()), counts.data(), nullptr),
                              H5Sclose);
    if (data.numel() == 0) {
      H5Sselect_none(file_space);
      H5Sselect_none(memory_space);
    } else if (!counts.empty()) {
      starts[0] = static_cast<hsize_t>(first_row);
      H5Sselect_hyperslab(file_space, H5S_SELECT_SET, starts.data(), nullptr, counts.data(), nullptr);
    }
    const InCollective here("HDF5 write");
    status = H5Dwrite(dataset, stored_type(data.scalar_type()), memory_space, file_space, transfer_list(true),
                      data.data_ptr());
  }
  guarded(impl_->comm, [&] {
    if (status < 0)
      fail_data(concat(path_, ": cannot write the dataset ", name), library_message(),
                "the disk may be full: free space and run again");
  });
}

bool Hdf5File::has(const std::string& name) const {
  for (std::size_t slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1))
    if (H5Lexists(impl_->file, name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(impl_->file, name.c_str(), H5P_DEFAULT) > 0;
}

namespace {
Handle open_dataset(hid_t file, const std::string& name, const std::string& path) {
  const hid_t id = H5Dopen2(file, name.c_str(), H5P_DEFAULT);
  if (id < 0)
    fail_data(concat(path, " has no dataset ", name), "it is an HDF5 file of something else, or of another version",
              "remove it and run the stage that makes it");
  return Handle(id, H5Dclose);
}
}  // namespace

std::vector<std::int64_t> Hdf5File::shape(const std::string& name) const {
  const Handle dataset = open_dataset(impl_->file, name, path_);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  std::vector<hsize_t> dims(static_cast<std::size_t>(std::max(0, H5Sget_simple_extent_ndims(space))));
  H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  return {dims.begin(), dims.end()};
}

at::ScalarType Hdf5File::type(const std::string& name) const {
  const Handle dataset = open_dataset(impl_->file, name, path_);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  if (H5Aexists(dataset, "dtype") > 0) {
    const Handle attribute(H5Aopen(dataset, "dtype", H5P_DEFAULT), H5Aclose),
        text_type(H5Aget_type(attribute), H5Tclose);
    std::string text(H5Tget_size(text_type), '\0');
    H5Aread(attribute, text_type, text.data());
    return text == "bfloat16" ? at::kBFloat16 : at::kHalf;
  }
  for (const at::ScalarType known : {at::kFloat, at::kDouble, at::kInt, at::kLong, at::kByte})
    if (H5Tequal(type, stored_type(known)) > 0) return known;
  fail_data(concat(path_, ": the dataset ", name, " has an unknown type"), "it is an HDF5 file of something else",
            "remove it and run the stage that makes it");
}

std::int64_t Hdf5File::offset(const std::string& name) const {
  const haddr_t address = H5Dget_offset(open_dataset(impl_->file, name, path_));
  RLUF_ASSERT(address != HADDR_UNDEF);
  return static_cast<std::int64_t>(address);
}

std::vector<std::string> Hdf5File::names() const {
  std::vector<std::string> names;
  H5Ovisit1(
      impl_->file, H5_INDEX_NAME, H5_ITER_NATIVE,
      [](hid_t, const char* name, const H5O_info_t* info, void* out) -> herr_t {
        if (info->type == H5O_TYPE_DATASET) static_cast<std::vector<std::string>*>(out)->push_back(name);
        return 0;
      },
      &names);
  std::sort(names.begin(), names.end());
  return names;
}

at::Tensor Hdf5File::read_rows(const std::string& name, std::int64_t first, std::int64_t last) const {
  std::vector<std::int64_t> dims = shape(name);
  if (dims.empty()) throw std::logic_error("read_rows of a scalar dataset");
  if (first < 0 || last < first || last > dims[0])
    fail_data(concat(path_, ": rows ", first, " to ", last, " of ", name, " were asked for, it has ", dims[0]),
              "the file does not fit to the run", "remove it and run the stage that makes it");
  dims[0] = last - first;
  at::Tensor data = at::empty(dims, at::TensorOptions(type(name)));
  if (data.numel() == 0) return data;
  const Handle dataset = open_dataset(impl_->file, name, path_);
  const Handle file_space(H5Dget_space(dataset), H5Sclose);
  const auto counts = dimensions(dims);
  std::vector<hsize_t> starts(counts.size(), 0);
  starts[0] = static_cast<hsize_t>(first);
  H5Sselect_hyperslab(file_space, H5S_SELECT_SET, starts.data(), nullptr, counts.data(), nullptr);
  const Handle memory_space(H5Screate_simple(static_cast<int>(counts.size()), counts.data(), nullptr), H5Sclose);
  check_status(H5Dread(dataset, stored_type(data.scalar_type()), memory_space, file_space, transfer_list(false),
                       data.data_ptr()),
               "read " + name, path_);
  return data;
}

at::Tensor Hdf5File::read(const std::string& name) const {
  const std::vector<std::int64_t> dims = shape(name);
  return read_rows(name, 0, dims.at(0));
}

void Hdf5File::write_attribute(const std::string& name, const std::string& text) {
  // A dataset of bytes: attributes proper are limited to 64 KiB.
  const std::string dataset = "attributes/" + name;
  create_dataset(dataset, at::kByte, {static_cast<std::int64_t>(text.size())});
  at::Tensor bytes = at::empty({impl_->comm.rank() == 0 ? static_cast<std::int64_t>(text.size()) : 0}, at::kByte);
  if (impl_->comm.rank() == 0) std::copy(text.begin(), text.end(), bytes.data_ptr<std::uint8_t>());
  write_rows(dataset, 0, bytes);
}

std::string Hdf5File::read_attribute(const std::string& name) const {
  const at::Tensor bytes = read("attributes/" + name);
  return {reinterpret_cast<const char*>(bytes.data_ptr<std::uint8_t>()), static_cast<std::size_t>(bytes.numel())};
}

}  // namespace rluf
