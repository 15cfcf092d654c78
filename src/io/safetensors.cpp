#include "rluf/io/safetensors.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

constexpr std::uint64_t kLongestHeaderBytes = 100'000'000;  // the format's own limit

struct StoredType {
  const char* name;
  at::ScalarType type;
};
constexpr StoredType kStoredTypes[] = {{"F32", at::kFloat},  {"F16", at::kHalf}, {"BF16", at::kBFloat16},
                                       {"F64", at::kDouble}, {"I64", at::kLong}, {"I32", at::kInt},
                                       {"U8", at::kByte},    {"BOOL", at::kBool}};

/// A file in memory, read only.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY);
    struct stat status {};
    if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
      if (descriptor >= 0) ::close(descriptor);
      fail_input(concat("cannot open ", path), std::strerror(errno), "check that the model folder is complete");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
    if (size_ > 0) {
      void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
      if (address != MAP_FAILED) data_ = static_cast<const char*>(address);
    }
    ::close(descriptor);
    if (size_ > 0 && data_ == nullptr)
      fail_input(concat("cannot map ", path), std::strerror(errno), "check the file system");
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const char* data() const { return data_; }
  std::uint64_t size() const { return size_; }

 private:
  const char* data_ = nullptr;
  std::uint64_t size_ = 0;
};

struct Entry {
  std::shared_ptr<MappedFile> file;
  at::ScalarType type;
  std::vector<std::int64_t> shape;
  const char* data;
  std::uint64_t num_bytes;
};

[[noreturn]] void fail_header(const std::string& path, const std::string& problem) {
  fail_input(concat(path, ": ", problem), "the file is damaged or not safetensors",
             "download or export the model again");
}

/// One entry of the header, with every number checked against the file before anything is trusted.
Entry parse_entry(const std::string& path, const std::string& name, const Json& value,
                  const std::shared_ptr<MappedFile>& file, std::uint64_t data_start) {
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
      !value["shape"].is_array() || !value.contains("data_offsets") || !value["data_offsets"].is_array() ||
      value["data_offsets"].size() != 2)
    fail_header(path, concat("the entry of tensor \"", name, "\" is malformed"));
  Entry entry{.file = file};
  const auto dtype = value["dtype"].get<std::string>();
  const auto* known = std::find_if(std::begin(kStoredTypes), std::end(kStoredTypes),
                                   [&](const StoredType& t) { return dtype == t.name; });
  if (known == std::end(kStoredTypes))
    fail_header(path, concat("tensor \"", name, "\" has the unsupported type ", dtype));
  entry.type = known->type;
  std::uint64_t num_bytes = c10::elementSize(entry.type);
  for (const Json& extent : value["shape"]) {
    if (!extent.is_number_unsigned()) fail_header(path, concat("tensor \"", name, "\" has a bad shape"));
    const auto n = extent.get<std::uint64_t>();
    if (n > (std::uint64_t{1} << 48) || __builtin_mul_overflow(num_bytes, n, &num_bytes) ||
        num_bytes > (std::uint64_t{1} << 62))
      fail_header(path, concat("tensor \"", name, "\" has an absurd shape"));
    entry.shape.push_back(static_cast<std::int64_t>(n));
  }
  if (!value["data_offsets"][0].is_number_unsigned() || !value["data_offsets"][1].is_number_unsigned())
    fail_header(path, concat("tensor \"", name, "\" has bad offsets"));
  const auto first = value["data_offsets"][0].get<std::uint64_t>(),
             last = value["data_offsets"][1].get<std::uint64_t>();
  if (first > last || last > file->size() - data_start)
    fail_header(path, concat("tensor \"", name, "\" lies outside of the file (truncated?)"));
  if (last - first != num_bytes) fail_header(path, concat("tensor \"", name, "\": offsets and shape disagree"));
  entry.data = file->data() + data_start + first;
  entry.num_bytes = num_bytes;
  return entry;
}

void read_header(const std::string& path, std::map<std::string, Entry>& entries) {
  const auto file = std::make_shared<MappedFile>(path);
  std::uint64_t length = 0;
  if (file->size() < 8) fail_header(path, "it is shorter than its length field");
  std::memcpy(&length, file->data(), 8);
  if (length > kLongestHeaderBytes || length > file->size() - 8)
    fail_header(path, concat("its header claims ", length, " bytes"));
  int depth = 0;
  const Json::parser_callback_t shallow = [&](int level, Json::parse_event_t, Json&) {
    depth = std::max(depth, level);
    if (depth > 4) fail_header(path, "its header is nested too deeply");
    return true;
  };
  Json header;
  try {
    header = Json::parse(file->data() + 8, file->data() + 8 + length, shallow);
  } catch (const Json::exception&) {
    fail_header(path, "its header is not JSON");
  }
  if (!header.is_object()) fail_header(path, "its header is not a JSON object");
  std::vector<std::pair<const char*, const char*>> parts;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    const Entry entry = parse_entry(path, name, value, file, 8 + length);
    if (!entries.emplace(name, entry).second) fail_header(path, concat("tensor \"", name, "\" stands in two shards"));
    if (entry.num_bytes > 0) parts.emplace_back(entry.data, entry.data + entry.num_bytes);
  }
  std::sort(parts.begin(), parts.end());
  for (std::size_t i = 1; i < parts.size(); ++i)
    if (parts[i].first < parts[i - 1].second) fail_header(path, "two tensors overlap");
}

const char* stored_name(at::ScalarType type) {
  for (const StoredType& known : kStoredTypes)
    if (known.type == type) return known.name;
  throw std::logic_error(concat("no safetensors type for ", c10::toString(type)));
}

std::uint64_t num_bytes_of(const TensorHeader& header) {
  std::uint64_t count = c10::elementSize(header.type);
  for (const std::int64_t extent : header.shape) count *= static_cast<std::uint64_t>(extent);
  return count;
}

/// Tensors [first, last) in one file.
void write_shard(const std::string& path, const std::vector<TensorHeader>& headers, std::size_t first, std::size_t last,
                 const std::function<at::Tensor(std::size_t)>& tensor) {
  Json json{{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t position = 0;
  for (std::size_t i = first; i < last; ++i) {
    const std::uint64_t end = position + num_bytes_of(headers[i]);
    json[headers[i].name] = {
        {"dtype", stored_name(headers[i].type)}, {"shape", headers[i].shape}, {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::string temporary = path + ".part";
  std::ofstream file(temporary, std::ios::binary);
  const std::uint64_t length = text.size();
  file.write(reinterpret_cast<const char*>(&length), 8);
  file << text;
  for (std::size_t i = first; i < last; ++i) {
    const at::Tensor data = tensor(i).detach().to(at::kCPU).contiguous();
    RLUF_ASSERT(data.scalar_type() == headers[i].type && data.nbytes() == num_bytes_of(headers[i]));
    file.write(static_cast<const char*>(data.data_ptr()), static_cast<std::streamsize>(data.nbytes()));
  }
  file.close();
  if (!file) fail_input(concat("cannot write ", path), "the disk may be full", "free space and run again");
  publish_file(temporary, path);
}

}  // namespace

struct SafetensorsFolder::Impl {
  std::string folder;
  std::map<std::string, Entry> entries;
  const Entry& entry(const std::string& name) const {
    const auto found = entries.find(name);
    if (found == entries.end())
      fail_input(concat(folder, " has no tensor ", name), "the model needs it", "download or export the model again");
    return found->second;
  }
};

SafetensorsFolder::SafetensorsFolder(const std::string& folder) : impl_(std::make_unique<Impl>()) {
  impl_->folder = folder;
  const std::string single = folder + "/model.safetensors", index_path = folder + "/model.safetensors.index.json";
  if (std::filesystem::exists(single)) {
    read_header(single, impl_->entries);
    return;
  }
  if (!std::filesystem::exists(index_path))
    fail_input(concat(folder, " holds neither model.safetensors nor model.safetensors.index.json"),
               "there are no weights to load", "name a Hugging Face folder with safetensors");
  const Json index = read_json(index_path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail_header(index_path, "it has no weight_map");
  std::set<std::string> shards;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string() || shard.get<std::string>().find('/') != std::string::npos)
      fail_header(index_path, concat("\"", name, "\" names no file of the folder"));
    shards.insert(shard.get<std::string>());
  }
  for (const std::string& shard : shards) {
    if (!std::filesystem::exists(concat(folder, "/", shard)))
      fail_input(concat(folder, " lacks the shard ", shard), "model.safetensors.index.json names it",
                 "download or export the model again");
    read_header(concat(folder, "/", shard), impl_->entries);
  }
  for (const auto& [name, shard] : index["weight_map"].items())
    if (!impl_->entries.contains(name))
      fail_header(folder + "/" + shard.get<std::string>(), concat("tensor \"", name, "\" of the index is missing"));
}

SafetensorsFolder::~SafetensorsFolder() = default;

bool SafetensorsFolder::has(const std::string& name) const { return impl_->entries.contains(name); }

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : impl_->entries) names.push_back(name);
  return names;
}

std::vector<std::int64_t> SafetensorsFolder::shape(const std::string& name) const { return impl_->entry(name).shape; }
at::ScalarType SafetensorsFolder::type(const std::string& name) const { return impl_->entry(name).type; }

at::Tensor SafetensorsFolder::read(const std::string& name) const {
  const Entry& entry = impl_->entry(name);
  at::Tensor tensor = at::empty(entry.shape, at::TensorOptions(entry.type));
  if (entry.num_bytes > 0) std::memcpy(tensor.data_ptr(), entry.data, entry.num_bytes);
  return tensor;
}

at::Tensor SafetensorsFolder::read_rows(const std::string& name, Range rows) const {
  const Entry& entry = impl_->entry(name);
  std::vector<std::int64_t> shape = entry.shape;
  RLUF_ASSERT(!shape.empty() && rows.first >= 0 && rows.last <= shape[0]);
  const std::uint64_t row_bytes = shape[0] == 0 ? 0 : entry.num_bytes / static_cast<std::uint64_t>(shape[0]);
  shape[0] = rows.count();
  at::Tensor tensor = at::empty(shape, at::TensorOptions(entry.type));
  if (tensor.nbytes() > 0)
    std::memcpy(tensor.data_ptr(), entry.data + static_cast<std::uint64_t>(rows.first) * row_bytes, tensor.nbytes());
  return tensor;
}

void write_safetensors(const std::string& folder, const std::vector<TensorHeader>& headers,
                       const std::function<at::Tensor(std::size_t)>& tensor, std::int64_t max_shard_bytes,
                       const std::string& stem) {
  std::filesystem::create_directories(folder);
  std::vector<std::size_t> firsts{0};  // of each shard
  std::uint64_t shard_bytes = 0, total_bytes = 0;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const std::uint64_t num_bytes = num_bytes_of(headers[i]);
    if (shard_bytes > 0 && shard_bytes + num_bytes > static_cast<std::uint64_t>(max_shard_bytes)) {
      firsts.push_back(i);
      shard_bytes = 0;
    }
    shard_bytes += num_bytes;
    total_bytes += num_bytes;
  }
  const std::string path = concat(folder, "/", stem);
  if (firsts.size() == 1) return write_shard(path + ".safetensors", headers, 0, headers.size(), tensor);
  firsts.push_back(headers.size());
  Json index{{"metadata", {{"total_size", total_bytes}}}, {"weight_map", Json::object()}};
  for (std::size_t s = 0; s + 1 < firsts.size(); ++s) {
    char number[64];
    std::snprintf(number, sizeof number, "-%05zu-of-%05zu.safetensors", s + 1, firsts.size() - 1);
    write_shard(path + number, headers, firsts[s], firsts[s + 1], tensor);
    for (std::size_t i = firsts[s]; i < firsts[s + 1]; ++i) index["weight_map"][headers[i].name] = stem + number;
  }
  write_json(path + ".safetensors.index.json", index);
}

void write_safetensors(const std::string& folder, const NamedTensors& tensors, std::int64_t max_shard_bytes) {
  std::vector<TensorHeader> headers;
  for (const auto& [name, tensor] : tensors) headers.push_back({name, tensor.sizes().vec(), tensor.scalar_type()});
  write_safetensors(
      folder, headers, [&](std::size_t i) { return tensors[i].second; }, max_shard_bytes);
}

}  // namespace rluf
