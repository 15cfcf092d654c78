// Commands about what stands in a run directory: compare, verify, prune.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>

#include "rluf/core/error.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// The tensors of a checkpoint or of a model folder.
struct TensorSource {
  std::vector<std::string> names;
  std::function<at::Tensor(const std::string&)> read;
};

TensorSource open_tensors(const std::string& path) {
  TensorSource source;
  if (fs::is_directory(path)) {
    const auto folder = std::make_shared<SafetensorsFolder>(path);
    source = {folder->names(), [folder](const std::string& name) { return folder->read(name); }};
  } else {
    const auto checkpoint = std::make_shared<Checkpoint>(path, Communicator::self());
    source = {checkpoint->tensor_names(), [checkpoint](const std::string& name) { return checkpoint->read(name); }};
  }
  std::sort(source.names.begin(), source.names.end());
  return source;
}

at::Tensor bytes_of(const at::Tensor& tensor) { return tensor.contiguous().view(-1).view(at::kByte); }

/// What differs between two tensors, as the end of a line; empty if every bit is equal.
std::string difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return concat("shapes differ: ", a.dim(), " and ", b.dim(), " dimensions or other sizes");
  if (a.scalar_type() != b.scalar_type())
    return concat("types differ: ", c10::toString(a.scalar_type()), " and ", c10::toString(b.scalar_type()));
  if (a.numel() == 0 || at::equal(bytes_of(a), bytes_of(b))) return "";
  const auto width = static_cast<std::int64_t>(a.element_size());
  const at::Tensor differs = bytes_of(a).ne(bytes_of(b)).view({-1, width}).any(1);
  const std::int64_t first = differs.to(at::kByte).argmax().item<std::int64_t>();
  const at::Tensor x = a.contiguous().view(-1).to(at::kDouble), y = b.contiguous().view(-1).to(at::kDouble);
  return concat(differs.sum().item<std::int64_t>(), " of ", a.numel(), " elements differ, the first is ", first, " (",
                x[first].item<double>(), " and ", y[first].item<double>(), "), by ", (x - y).abs().max().item<double>(),
                " at most");
}

/// checkpoints/STAGE folders of a run.
std::vector<std::string> checkpoint_folders(const std::string& run) {
  std::vector<std::string> folders;
  const std::string root = run + "/checkpoints";
  if (!fs::is_directory(root))
    fail_input(concat(run, " has no checkpoints folder"), "it is no run directory", "name what run.directory was");
  for (const auto& entry : fs::directory_iterator(root))
    if (entry.is_directory()) folders.push_back(entry.path().string());
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

void tool_compare(const std::vector<std::string>& operands) {
  if (operands.size() != 2)
    fail_input("compare needs two checkpoints or two model folders", "it says where they differ",
               "rluf compare A.h5 B.h5");
  const TensorSource a = open_tensors(operands[0]), b = open_tensors(operands[1]);
  std::vector<std::string> all;
  std::set_union(a.names.begin(), a.names.end(), b.names.begin(), b.names.end(), std::back_inserter(all));
  std::size_t num_different = 0;
  for (const std::string& name : all) {
    const bool in_a = std::binary_search(a.names.begin(), a.names.end(), name),
               in_b = std::binary_search(b.names.begin(), b.names.end(), name);
    const std::string text =
        in_a && in_b ? difference(a.read(name), b.read(name)) : concat("only in ", in_a ? operands[0] : operands[1]);
    if (text.empty()) continue;
    ++num_different;
    std::cout << name << ": " << text << '\n';
  }
  std::cout << all.size() - num_different << " of " << all.size() << " tensors are equal in every bit\n" << std::flush;
  if (num_different > 0)
    throw Error(ExitCode::kOther, concat(operands[0], " and ", operands[1], " differ in ", num_different, " tensors"));
}

void tool_verify(const std::vector<std::string>& operands) {
  if (operands.size() != 1)
    fail_input("verify needs one run directory", "it checks all checkpoints and models in it", "rluf verify RUN");
  std::size_t num_damaged = 0, num_whole = 0;
  const auto check = [&](const std::string& path, const std::function<std::string()>& action) {
    try {
      std::cout << path << ": whole, " << action() << '\n';
      ++num_whole;
    } catch (const Error& error) {
      std::cout << path << ": DAMAGED: " << error.what() << '\n';
      ++num_damaged;
    }
  };
  for (const std::string& folder : checkpoint_folders(operands[0]))
    for (const std::string& path : list_checkpoints(folder))
      check(path, [&] {
        const Checkpoint checkpoint(path, Communicator::self());
        return concat(checkpoint.tensor_names().size(), " tensors with right checksums");
      });
  const std::string models = operands[0] + "/models";
  if (fs::is_directory(models))
    for (const auto& entry : fs::directory_iterator(models)) {
      const std::string path = entry.path().string();
      check(path, [&] {
        const SafetensorsFolder weights(path);
        check_weights(LlamaConfig::from_folder(path), weights, path);
        return concat(weights.names().size(), " tensors of the right shape (model folders have no checksums)");
      });
    }
  std::cout << num_whole << " whole, " << num_damaged << " damaged\n" << std::flush;
  if (num_damaged > 0)
    fail_data(concat(num_damaged, " files of ", operands[0], " are damaged"), "a run cannot continue from them",
              "remove them: the next older checkpoint is taken by itself, a model comes again from its stage");
}

void tool_prune(const RunConfig& config, const std::vector<std::string>& operands) {
  if (operands.size() != 1)
    fail_input("prune needs one run directory", "it removes old checkpoints of it", "rluf prune RUN --run.keep_last=1");
  std::uintmax_t num_bytes = 0;
  std::size_t num_removed = 0;
  for (const std::string& folder : checkpoint_folders(operands[0])) {
    const auto sizes = [&] {
      std::uintmax_t sum = 0;
      for (const std::string& path : list_checkpoints(folder)) sum += fs::file_size(path);
      return sum;
    };
    const std::uintmax_t before = sizes();
    // The newest that verifies stays, whatever newer ones are damaged.
    const auto newest = Checkpoint::newest(folder, Communicator::self());
    const auto paths = list_checkpoints(folder);
    if (!paths.empty() && (!newest || newest->path() != paths.front()))
      fail_data(paths.front() + " is damaged and newer than what would stay",
                "pruning could remove the last whole checkpoint",
                "look at it with rluf verify, remove it, and prune again");
    for (const std::string& path : prune_checkpoints(folder, config.run.checkpoints)) {
      std::cout << "removed " << path << '\n';
      ++num_removed;
    }
    num_bytes += before - sizes();
  }
  std::cout << num_removed << " checkpoints removed, " << (num_bytes >> 20) << " MiB freed\n" << std::flush;
}

}  // namespace rluf
