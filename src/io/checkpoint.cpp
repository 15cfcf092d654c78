#include "rluf/io/checkpoint.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "checkpoint_format.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;
using checkpoint_format::checksum;
using checkpoint_format::elements_of_row;
using checkpoint_format::kBlockElements;
using checkpoint_format::stored_shape;

/// Reads what a CheckpointWriter wrote.
class Restorer : public StateArchive {
 public:
  Restorer(const Hdf5File& file, const Json& manifest) : file_(file), manifest_(manifest) {}
  bool is_reading() const override { return true; }
  void number(const std::string& name, std::int64_t& value) override { value = state(name).get<std::int64_t>(); }
  void json(const std::string& name, Json& value) override { value = state(name); }
  void tensor(const std::string& name, at::Tensor& tensor) override {
    const std::vector<std::int64_t> shape = shape_of(name);
    if (tensor.defined() && tensor.sizes().vec() != shape) fail_shape(name, tensor.sizes().vec());
    const at::Tensor read = file_.read("tensors/" + name).view(shape);
    if (tensor.defined()) {
      tensor.copy_(read);
    } else {
      tensor = read;
    }
  }
  void rows(const std::string& name, at::Tensor& mine, const std::vector<std::int64_t>& shape, Range which) override {
    if (shape_of(name) != shape) fail_shape(name, shape);
    mine.copy_(file_.read_rows("tensors/" + name, which.first, which.last));
  }

 private:
  const Json& state(const std::string& name) const {
    const Json& all = manifest_.at("state");
    if (!all.contains(name)) fail_missing(name);
    return all.at(name);
  }
  std::vector<std::int64_t> shape_of(const std::string& name) const {
    for (const Json& entry : manifest_.at("tensors"))
      if (entry.at("name") == name) return entry.at("shape").get<std::vector<std::int64_t>>();
    fail_missing(name);
  }
  [[noreturn]] void fail_missing(const std::string& name) const {
    fail_data(concat(file_.path(), " lacks ", name), "it was made with another model or other trainable layers",
              "restore the old options or use another run.directory");
  }
  [[noreturn]] void fail_shape(const std::string& name, const std::vector<std::int64_t>& wanted) const {
    fail_data(
        concat(file_.path(), ": ", name, " has the shape ", Json(shape_of(name)).dump(), ", not ", Json(wanted).dump()),
        "it was made with another model", "restore the old options or use another run.directory");
  }
  const Hdf5File& file_;
  const Json& manifest_;
};

Json read_manifest(const Hdf5File& file) {
  if (!file.has("attributes/manifest") || !file.has("attributes/manifest_crc32"))
    fail_data(file.path() + " has no manifest", "it is no checkpoint, or of another program",
              "name a checkpoint of rluf");
  const std::string text = file.read_attribute("manifest");
  if (file.read_attribute("manifest_crc32") != std::to_string(checksum(text.data(), text.size())))
    fail_data(file.path() + ": the manifest's checksum is wrong", "the file is damaged", "use an older checkpoint");
  Json manifest = Json::parse(text, nullptr, false);
  if (manifest.is_discarded() || manifest.value("format_version", 0) != checkpoint_format::kVersion)
    fail_data(concat(file.path(), " has the format version ",
                     manifest.is_discarded() ? "?" : manifest.value("format_version", Json(0)).dump()),
              concat("this program reads version ", checkpoint_format::kVersion),
              "continue with the program that wrote it");
  return manifest;
}

/// Checks this rank's share of the blocks of one tensor.
void verify_tensor(const Hdf5File& file, const Json& entry, const Communicator& comm) {
  const auto name = entry.at("name").get<std::string>();
  const std::vector<std::int64_t> shape = stored_shape(entry.at("shape").get<std::vector<std::int64_t>>());
  if (file.shape("tensors/" + name) != shape)
    fail_data(concat(file.path(), ": ", name, " has not the shape that the manifest says"), "the file is damaged",
              "use an older checkpoint");
  const std::int64_t row = elements_of_row(shape), numel = shape[0] * row;
  const auto expected = entry.at("crc32").get<std::vector<std::int64_t>>();
  const Range blocks = shard_range((numel + kBlockElements - 1) / kBlockElements, comm.size(), comm.rank());
  const Range elements{blocks.first * kBlockElements, std::min(numel, blocks.last * kBlockElements)};
  if (elements.count() <= 0) return;
  const std::int64_t first_row = elements.first / row, last_row = (elements.last + row - 1) / row;
  const at::Tensor flat = file.read_rows("tensors/" + name, first_row, last_row).view(-1);
  const at::Tensor mine = flat.narrow(0, elements.first - first_row * row, elements.count());
  const char* data = static_cast<const char*>(mine.const_data_ptr());
  for (const auto& piece : checkpoint_format::pieces_of(mine.element_size(), elements)) {
    const std::int64_t found = checkpoint_format::checksum(data, static_cast<std::size_t>(piece.num_bytes));
    if (expected.at(static_cast<std::size_t>(piece.block)) != found)
      fail_data(concat(file.path(), ": the checksum of ", name, " is wrong"), "the file is damaged",
                "use an older checkpoint");
    data += piece.num_bytes;
  }
}

}  // namespace

std::vector<checkpoint_format::Piece> checkpoint_format::pieces_of(std::int64_t element_bytes, Range elements) {
  std::vector<Piece> pieces;
  for (std::int64_t first = elements.first; first < elements.last;) {
    const std::int64_t block = first / kBlockElements, last = std::min(elements.last, (block + 1) * kBlockElements);
    pieces.push_back({block, (last - first) * element_bytes, 0});
    first = last;
  }
  return pieces;
}

Checkpoint::Checkpoint(const std::string& path, const Communicator& comm)
    : comm_(comm), file_(Hdf5File::open(path, comm)) {
  guarded(comm, [&] {
    manifest_ = read_manifest(file_);
    header_ = {manifest_.at("stage").get<std::string>(), manifest_.at("step").get<std::int64_t>(),
               manifest_.at("identity"), manifest_.at("about")};
    for (const Json& entry : manifest_.at("tensors")) verify_tensor(file_, entry, comm);
  });
}

std::optional<Checkpoint> Checkpoint::newest(const std::string& folder, const Communicator& comm) {
  std::string list;
  guarded(comm, [&] {
    if (comm.rank() != 0 || !fs::exists(folder)) return;
    for (const auto& entry : fs::directory_iterator(folder))  // left by a writer that was killed
      if (entry.path().extension() == ".part") fs::remove(entry.path());
    for (const std::string& path : list_checkpoints(folder)) list += path + "\n";
  });
  list = comm.broadcast(list, 0);
  for (std::size_t first = 0; first < list.size();) {
    const std::size_t last = list.find('\n', first);
    const std::string path = list.substr(first, last - first);
    first = last + 1;
    try {
      return Checkpoint(path, comm);
    } catch (const Error& error) {  // the same on all ranks, see guarded()
      if (comm.rank() == 0) log_warning(concat("skipping a checkpoint: ", error.what()));
    }
  }
  return std::nullopt;
}

void Checkpoint::restore(const DescribeState& describe) const {
  Restorer restorer(file_, manifest_);
  describe(restorer);
}

std::vector<std::string> Checkpoint::tensor_names() const {
  std::vector<std::string> names;
  for (const Json& entry : manifest_.at("tensors")) names.push_back(entry.at("name").get<std::string>());
  return names;
}

at::Tensor Checkpoint::read(const std::string& name) const {
  at::Tensor tensor;
  Restorer(file_, manifest_).tensor(name, tensor);
  return tensor;
}

void check_identity(const CheckpointHeader& header, const Json& identity) {
  const std::string changes = text_of_differences(header.identity, identity);
  if (!changes.empty())
    fail_data(concat("the checkpoint of stage ", header.stage, " at step ", header.step,
                     " was made with other options or data: ", changes),
              "continuing would mix two runs",
              "restore the old options, use another run.directory, or remove the stage's checkpoints");
}

std::vector<std::string> list_checkpoints(const std::string& folder) {
  std::vector<std::string> paths;
  if (!fs::exists(folder)) return paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step_") && name.ends_with(".h5")) paths.push_back(entry.path().string());
  }
  std::sort(paths.rbegin(), paths.rend());
  return paths;
}

std::vector<std::string> prune_checkpoints(const std::string& folder, const Retention& retention) {
  std::vector<std::string> removed;
  const auto paths = list_checkpoints(folder);
  for (auto i = static_cast<std::size_t>(std::max<std::int64_t>(1, retention.keep_last)); i < paths.size(); ++i) {
    const std::int64_t step = std::atoll(fs::path(paths[i]).stem().string().substr(5).c_str());
    if (retention.keep_every > 0 && step % retention.keep_every == 0) continue;
    fs::remove(paths[i]);
    removed.push_back(paths[i]);
  }
  return removed;
}

}  // namespace rluf
