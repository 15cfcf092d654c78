// fuzz TARGET RUNS SEED FILE ...: reads mutated copies of good files, as a run that meets a damaged or hostile file
// would. An Error with the exit code of bad input or bad data is right; anything else (another exception, a crash, a
// sanitizer's report) ends the program. Each trial depends on (SEED, its number) alone: TARGET 1 SEED+n repeats trial
// n.
#include <ATen/ATen.h>
#include <mpi.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/dataset/pair_layouts.hpp"
#include "rluf/pipeline/pipeline/run_config.hpp"

using namespace rluf;
namespace fs = std::filesystem;

namespace {

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// A few changes of the kinds that disks, transfers and attackers make.
std::string mutated(std::string text, RandomStream& random) {
  static const std::vector<std::string> kWords{std::string(8, 0),
                                               "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                               "-1",
                                               "1e999",
                                               "18446744073709551616",
                                               "{",
                                               "]",
                                               "\"",
                                               "null",
                                               "\\u0000",
                                               "\xc3\x28",
                                               "\n",
                                               "[[[[[[[["};
  for (std::uint64_t change = 0, count = 1 + random.below(4); change < count; ++change) {
    const std::size_t size = text.size(), at = size > 0 ? random.below(size) : 0;
    switch (random.below(7)) {
      case 0:
        if (size > 0) text[at] = static_cast<char>(text[at] ^ (1 << random.below(8)));
        break;
      case 1:
        if (size > 0) text[at] = static_cast<char>(random.below(256));
        break;
      case 2:
        text.resize(at);
        break;
      case 3:
        text.erase(at, 1 + random.below(16));
        break;
      case 4:
        text.insert(at, kWords[random.below(kWords.size())]);
        break;
      case 5:
        text.insert(at, text.substr(at, 1 + random.below(64)));
        break;
      default:  // the beginning, where headers are
        if (size > 0) text[random.below(std::min<std::size_t>(size, 64))] = static_cast<char>(random.below(256));
    }
  }
  return text;
}

/// How a run reads each kind of file. `place` is a folder that holds the mutated file under its own name.
using Reader = std::function<void(const std::string& folder, const std::string& file)>;

const std::map<std::string, Reader>& readers() {
  static const std::map<std::string, Reader> map{
      {"safetensors",
       [](const std::string& folder, const std::string&) {
         const SafetensorsFolder weights(folder);
         for (const std::string& name : weights.names()) weights.read(name);
       }},
      {"config", [](const std::string& folder, const std::string&) { LlamaConfig::from_folder(folder); }},
      {"tokenizer",
       [](const std::string&, const std::string& file) {
         const Tokenizer tokenizer = Tokenizer::from_file(file);
         tokenizer.decode(tokenizer.encode("Bye! Sending love \xe2\x9d\xa4 1234 \xff"));
       }},
      {"jsonl",
       [](const std::string&, const std::string& file) {
         for_each_row(file, 0, 1, [&](std::int64_t line, const Json& row) {
           read_messages(field<Json>(row, "messages", file, line), file, line);
           field<std::string>(row, "response", file, line);
           field<std::int64_t>(row, "timestamp", file, line);
         });
       }},
      {"ini",
       [](const std::string&, const std::string& file) {
         RunConfig config;
         OptionTable table = config.table();
         table.read({file}, {});
         config.complete();
         config.check("run");
       }},
      {"checkpoint",
       [](const std::string&, const std::string& file) {
         const Checkpoint checkpoint(file, Communicator::self());
         for (const std::string& name : checkpoint.tensor_names()) checkpoint.read(name);
       }},
      {"dataset",
       [](const std::string&, const std::string& file) {
         const LabelledData data(file, Split::kTrain, Communicator::self());
         for (std::int64_t i = 0; i < data.documents().size(); ++i) data.documents().document(i);
         data.facts();
       }},
      {"prompts",
       [](const std::string&, const std::string& file) { read_prompts(file, Split::kTrain, Communicator::self()); }},
      {"pairs",
       [](const std::string&, const std::string& file) {
         const PairLayout layout = layout_of_file(file);
         for_each_row(file, 0, 1, [&](std::int64_t line, const Json& row) {
           if (is_unpaired(layout)) {
             read_rated(row, layout, file, line);
           } else {
             read_pair(row, layout, file, line);
           }
         });
       }},
  };
  return map;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5 || !readers().contains(argv[1])) {
    std::cerr << "usage: fuzz TARGET RUNS SEED FILE ...; targets:";
    for (const auto& [name, reader] : readers()) std::cerr << ' ' << name;
    std::cerr << '\n';
    return 2;
  }
  MPI_Init(&argc, &argv);
  const std::string target = argv[1];
  const std::int64_t runs = std::atoll(argv[2]);
  const auto seed = static_cast<std::uint64_t>(std::atoll(argv[3]));
  const fs::path folder = fs::temp_directory_path() / concat("rluf_fuzz_", target, "_", seed);
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::int64_t accepted = 0, refused = 0;
  for (std::int64_t run = 0; run < runs; ++run) {
    RandomStream random(seed + static_cast<std::uint64_t>(run), Purpose::kSimulation);
    const fs::path source = argv[4 + random.below(static_cast<std::uint64_t>(argc - 4))];
    const fs::path place = folder / source.filename();
    std::ofstream(place, std::ios::binary) << mutated(content_of(source), random);
    try {
      readers().at(target)(folder.string(), place.string());
      ++accepted;
    } catch (const Error& error) {
      ++refused;
      if (error.code() != ExitCode::kBadInput && error.code() != ExitCode::kBadData) {
        std::cerr << "trial " << seed + static_cast<std::uint64_t>(run) << ": exit code "
                  << static_cast<int>(error.code()) << ": " << error.what() << '\n';
        return 1;
      }
    } catch (const std::exception& error) {
      std::cerr << "trial " << seed + static_cast<std::uint64_t>(run) << " of " << place << ": no Error but "
                << error.what() << '\n';
      return 1;
    }
    fs::remove(place);
  }
  fs::remove_all(folder);
  std::cout << "fuzz " << target << ": " << runs << " files, " << refused << " refused, " << accepted << " read\n";
  MPI_Finalize();
}
