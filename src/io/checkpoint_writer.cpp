#include "rluf/io/checkpoint_writer.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>

#include "checkpoint_format.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;
using checkpoint_format::elements_of_row;
using checkpoint_format::Piece;
using checkpoint_format::stored_shape;

constexpr std::int64_t kPortionBytes = std::int64_t{256} << 10, kWindowBytes = std::int64_t{32} << 20;

/// This rank's rows of a tensor, as they were when the checkpoint began.
struct Part {
  std::string name;
  std::vector<std::int64_t> shape;  ///< global, as the component has it
  at::Tensor source, rows;          ///< in the component; the copy
  Range elements;                   ///< of the flat global tensor
  std::int64_t file_offset = 0;     ///< of the first of these elements
  std::vector<Piece> pieces = {};
};

class Collector : public StateArchive {
 public:
  /// `buffers`: of the last checkpoint, whose memory is used again.
  Collector(const Communicator& comm, std::vector<at::Tensor> buffers) : comm_(comm), buffers_(std::move(buffers)) {}
  void number(const std::string& name, std::int64_t& value) override { state[name] = value; }
  void json(const std::string& name, Json& value) override { state[name] = value; }
  void tensor(const std::string& name, at::Tensor& tensor) override {
    const std::vector<std::int64_t> shape = stored_shape(tensor.sizes().vec());
    const Range mine = shard_range(shape[0], comm_.size(), comm_.rank());
    add(name, tensor.sizes().vec(), tensor.detach().view(shape).narrow(0, mine.first, mine.count()), mine);
  }
  void rows(const std::string& name, at::Tensor& mine, const std::vector<std::int64_t>& shape, Range which) override {
    RLUF_ASSERT(mine.size(0) == which.count());
    add(name, shape, mine.detach(), which);
  }
  bool is_reading() const override { return false; }
  Json state = Json::object();
  std::vector<Part> parts;

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape, const at::Tensor& rows, Range which) {
    const std::int64_t row = elements_of_row(stored_shape(shape));
    const std::size_t i = parts.size();
    const bool fits =
        i < buffers_.size() && buffers_[i].sizes() == rows.sizes() && buffers_[i].scalar_type() == rows.scalar_type();
    at::Tensor copy = fits ? buffers_[i] : at::empty(rows.sizes(), rows.options().device(at::kCPU));
    const bool later = rows.is_cpu() && rows.is_contiguous();
    if (!later) copy.copy_(rows);
    parts.push_back({name, std::move(shape), later ? rows : at::Tensor(), copy, {which.first * row, which.last * row}});
  }
  const Communicator& comm_;
  std::vector<at::Tensor> buffers_;
};

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

void check_space(const std::string& folder, std::int64_t num_bytes) {
  fs::create_directories(folder);
  const auto space = fs::space(folder);
  if (static_cast<std::int64_t>(space.available) < num_bytes + (1 << 20))
    fail_input(concat("the disk of ", folder, " has ", space.available >> 20, " MiB left, a checkpoint needs ",
                      num_bytes >> 20),
               "the run could not be continued", "free space; earlier checkpoints are untouched");
}

/// A descriptor that closes itself.
struct Descriptor {
  int number;
  Descriptor(const std::string& path, int flags) : number(::open(path.c_str(), flags)) {
    if (number < 0) fail(concat("cannot open ", path));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(number); }
  [[noreturn]] static void fail(const std::string& what) {
    throw std::runtime_error(concat(what, ": ", std::strerror(errno)));
  }
  /// All bytes, however many calls that takes.
  template <class Call, class Pointer>
  void transfer(Call call, const char* verb, Pointer data, std::int64_t num_bytes, std::int64_t offset) const {
    for (std::int64_t done = 0; done < num_bytes;) {
      const auto count = call(number, data + done, static_cast<std::size_t>(num_bytes - done), offset + done);
      if (count < 0 && errno == EINTR) continue;
      if (count == 0) errno = EIO;
      if (count <= 0) fail(verb);
      done += count;
    }
  }
};

/// Calls action(bytes, count, offset in the file, piece) for all bytes of a part, in portions that stay in the
/// processor's cache for whatever is done with them.
template <class Action>
void for_each_portion(Part& part, const Action& action) {
  const char* data = static_cast<const char*>(part.rows.const_data_ptr());
  std::int64_t offset = part.file_offset;
  for (Piece& piece : part.pieces)
    for (std::int64_t left = piece.num_bytes; left > 0;) {
      const std::int64_t count = std::min(left, kPortionBytes);
      action(data, count, offset, piece);
      data += count;
      offset += count;
      left -= count;
    }
}

/// Writes the parts, brings them to the disk, and compares what can be read back with what was meant.
void write_parts(const std::string& path, std::vector<Part>& parts) {
  {
    const Descriptor file(path, O_WRONLY);
    std::int64_t waiting = 0;
    for (Part& part : parts) {
      part.pieces = checkpoint_format::pieces_of(part.rows.element_size(), part.elements);
      for_each_portion(part, [&](const char* data, std::int64_t count, std::int64_t offset, Piece& piece) {
        piece.crc32 = checkpoint_format::checksum(data, static_cast<std::size_t>(count), piece.crc32);
        file.transfer(::pwrite, "cannot write", data, count, offset);
        waiting += count;
        if (waiting < kWindowBytes) return;
        // The disk begins while more is written; whether it succeeds is asked below.
        ::sync_file_range(file.number, std::max<std::int64_t>(0, offset + count - waiting), waiting,
                          SYNC_FILE_RANGE_WRITE);
        waiting = 0;
      });
    }
    if (::fsync(file.number) != 0) Descriptor::fail("cannot bring it to the disk");
  }
  const Descriptor file(path, O_RDONLY);
  std::vector<char> found(static_cast<std::size_t>(kPortionBytes));
  for (Part& part : parts)
    for_each_portion(part, [&](const char* data, std::int64_t count, std::int64_t offset, const Piece&) {
      file.transfer(::pread, "cannot read it back", found.data(), count, offset);
      if (std::memcmp(found.data(), data, static_cast<std::size_t>(count)) != 0)
        throw std::runtime_error(concat(part.name, " does not read back as it was written"));
    });
}

/// The checksums of each part's blocks, from everyone's pieces. @collective
/// @throws std::logic_error if the ranks' rows are not all rows, each once
std::vector<std::vector<std::int64_t>> block_checksums(const std::vector<Part>& parts, const Communicator& comm) {
  std::vector<std::int64_t> mine;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::int64_t first = parts[i].elements.first * static_cast<std::int64_t>(parts[i].rows.element_size());
    for (const Piece& piece : parts[i].pieces) {
      mine.insert(mine.end(), {static_cast<std::int64_t>(i), first, piece.block, piece.num_bytes, piece.crc32});
      first += piece.num_bytes;
    }
  }
  std::vector<std::array<std::int64_t, 5>> pieces;
  const std::vector<std::int64_t> all = comm.all_gather(mine);
  for (std::size_t i = 0; i < all.size(); i += 5)
    pieces.push_back({all[i], all[i + 1], all[i + 2], all[i + 3], all[i + 4]});
  std::sort(pieces.begin(), pieces.end());  // by part, then by place in it
  std::vector<std::vector<std::int64_t>> blocks(parts.size());
  std::vector<std::int64_t> ends(parts.size(), 0);
  for (const auto& [part, first, block, num_bytes, crc32] : pieces) {
    const auto i = static_cast<std::size_t>(part);
    if (first != ends[i]) throw std::logic_error(concat(parts[i].name, ": the ranks' rows overlap or leave a gap"));
    ends[i] += num_bytes;
    if (block == static_cast<std::int64_t>(blocks[i].size())) {
      blocks[i].push_back(crc32);
    } else {
      blocks[i].back() = static_cast<std::int64_t>(
          crc32_combine(static_cast<uLong>(blocks[i].back()), static_cast<uLong>(crc32), num_bytes));
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::int64_t elements = elements_of_row(stored_shape(parts[i].shape)) * stored_shape(parts[i].shape)[0];
    if (ends[i] != elements * static_cast<std::int64_t>(parts[i].rows.element_size()))
      throw std::logic_error(concat(parts[i].name, ": the ranks' rows are not all rows"));
  }
  return blocks;
}

}  // namespace

struct CheckpointWriter::Writing {
  std::string path;  ///< final name; the bytes go to PATH.part
  Json manifest;
  std::vector<Part> parts;
  std::int64_t step = 0, num_bytes = 0;
  double work_seconds = 0, standstill_seconds = 0;
  bool whole = false;      ///< everyone's bytes and the manifest are in the file, it lacks its name
  std::string error = {};  ///< of the thread
  std::atomic<bool> copied = false, done = false;
  std::thread thread = {};

  void copy() {
    for (Part& part : parts)
      if (part.source.defined() && part.source.numel() > 0)
        std::memcpy(part.rows.mutable_data_ptr(), part.source.const_data_ptr(), part.rows.nbytes());
    copied = true;
    copied.notify_all();
  }
  void in_background(std::function<void()> action) {
    done = false;
    thread = std::thread([this, action = std::move(action)] {
      const double start = now_seconds();
      try {
        action();
      } catch (const std::exception& failure) {
        error = failure.what();
      }
      work_seconds += now_seconds() - start;
      done = true;
    });
  }
};

CheckpointWriter::CheckpointWriter(std::string folder, const Communicator& comm, const Retention& retention)
    : folder_(std::move(folder)), comm_(comm), retention_(retention) {}

CheckpointWriter::~CheckpointWriter() {
  if (!writing_) return;
  writing_->thread.join();
  std::error_code ignored;
  if (comm_.rank() == 0) fs::remove(writing_->path + ".part", ignored);
}

void CheckpointWriter::begin(const CheckpointHeader& header, const DescribeState& describe) {
  const double asked = now_seconds();
  wait();
  const double start = now_seconds();
  Collector collected(comm_, std::exchange(buffers_, {}));
  describe(collected);
  std::int64_t num_bytes = 0;
  for (const Part& part : collected.parts) num_bytes += static_cast<std::int64_t>(part.rows.nbytes());
  num_bytes = comm_.all_reduce(num_bytes);
  guarded(comm_, [&] {
    if (comm_.rank() == 0) check_space(folder_, num_bytes);
  });
  const std::string path = checkpoint_format::file_name(folder_, header.step);
  Hdf5File file = Hdf5File::create(path, comm_);
  for (Part& part : collected.parts) {
    file.create_dataset("tensors/" + part.name, part.rows.scalar_type(), stored_shape(part.shape));
    if (part.elements.count() > 0)
      part.file_offset = file.offset("tensors/" + part.name) + part.elements.first * part.rows.element_size();
  }
  file.leave();
  const Json manifest{{"format_version", checkpoint_format::kVersion},
                      {"stage", header.stage},
                      {"step", header.step},
                      {"identity", header.identity},
                      {"about", header.about},
                      {"state", collected.state},
                      {"written_by", {{"host", host_name()}, {"ranks", comm_.size()}}},
                      {"block_elements", checkpoint_format::kBlockElements}};
  writing_.reset(new Writing{.path = path,
                             .manifest = manifest,
                             .parts = std::move(collected.parts),
                             .step = header.step,
                             .num_bytes = num_bytes,
                             .work_seconds = now_seconds() - start,
                             .standstill_seconds = now_seconds() - asked});
  writing_->in_background([writing = writing_.get()] {
    writing->copy();
    write_parts(writing->path + ".part", writing->parts);
  });
}

void CheckpointWriter::state_will_change() {
  if (!writing_ || writing_->copied) return;
  const double start = now_seconds();
  writing_->copied.wait(false);
  writing_->standstill_seconds += now_seconds() - start;
}

void CheckpointWriter::poll() {
  if (writing_ && comm_.all_reduce(std::int64_t{writing_->done}, Reduce::kMin) == 1) advance();
}

void CheckpointWriter::wait() {
  while (writing_) {
    while (!writing_->done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    advance();
  }
  guarded(comm_, [&] {
    if (pruning_.valid()) pruning_.get();
  });
}

void CheckpointWriter::advance() {
  const double start = now_seconds();
  if (writing_->thread.joinable()) writing_->thread.join();
  try {
    guarded(comm_, [&] {
      if (!writing_->error.empty())
        fail_data(concat("the checkpoint ", writing_->path, " could not be written: ", writing_->error),
                  "the disk may be full or broken", "free space and run again; earlier checkpoints are untouched");
    });
  } catch (const Error&) {
    std::error_code ignored;
    if (comm_.rank() == 0) fs::remove(writing_->path + ".part", ignored);
    writing_.reset();
    throw;
  }
  if (writing_->whole) {
    announce(start);
  } else {
    write_manifest();
    writing_->whole = true;
    writing_->work_seconds += now_seconds() - start;
    writing_->standstill_seconds += now_seconds() - start;
    // Bringing the last bytes and the name to the disk can take long when the disk does other work.
    if (comm_.rank() == 0) writing_->in_background([path = writing_->path] { publish_file(path + ".part", path); });
  }
}

void CheckpointWriter::write_manifest() {
  const auto blocks = block_checksums(writing_->parts, comm_);
  guarded(comm_, [&] {
    if (comm_.rank() != 0) return;
    Json& manifest = writing_->manifest;
    manifest["tensors"] = Json::array();
    for (std::size_t i = 0; i < writing_->parts.size(); ++i) {
      const Part& part = writing_->parts[i];
      manifest["tensors"].push_back({{"name", part.name},
                                     {"shape", part.shape},
                                     {"type", c10::toString(part.rows.scalar_type())},
                                     {"crc32", blocks[i]}});
    }
    const std::string text = manifest.dump();
    Hdf5File file = Hdf5File::take_up(writing_->path, Communicator::self());
    file.write_attribute("manifest", text);
    file.write_attribute("manifest_crc32", std::to_string(checkpoint_format::checksum(text.data(), text.size())));
    file.leave();
  });
}

void CheckpointWriter::announce(double start) {
  guarded(comm_, [&] {
    if (comm_.rank() != 0) return;
    const Hdf5File file = Hdf5File::open(writing_->path, Communicator::self());
    if (file.read_attribute("manifest") != writing_->manifest.dump())
      fail_data(concat(writing_->path, " does not read back as it was written"), "the disk may be broken",
                "look at the file system; earlier checkpoints are untouched");
    pruning_ = std::async(std::launch::async, [folder = folder_, retention = retention_] {
      prune_checkpoints(folder, retention);  // a large file takes its time to go
    });
  });
  const std::unique_ptr<Writing> written = std::move(writing_);
  for (const Part& part : written->parts) buffers_.push_back(part.rows);
  const double here = now_seconds() - start;
  figures_ = {written->step, written->num_bytes, comm_.all_reduce(written->work_seconds + here, Reduce::kMax),
              written->standstill_seconds + here};
}

void write_checkpoint(const std::string& folder, const CheckpointHeader& header, const DescribeState& describe,
                      const Communicator& comm, const Retention& retention) {
  CheckpointWriter writer(folder, comm, retention);
  writer.begin(header, describe);
  writer.wait();
}

}  // namespace rluf
