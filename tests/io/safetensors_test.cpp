#include "rluf/io/safetensors.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

class Safetensors : public testing::Test {
 protected:
  std::string folder = testing::TempDir() + "rluf_safetensors";
  void SetUp() override { std::filesystem::remove_all(folder); }

  void write_file(const std::string& header, std::uint64_t claimed, const std::string& data) const {
    std::filesystem::create_directories(folder);
    std::ofstream file(folder + "/model.safetensors", std::ios::binary);
    file.write(reinterpret_cast<const char*>(&claimed), 8);
    file << header << data;
  }
  std::string message() const {
    try {
      SafetensorsFolder opened(folder);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return error.what();
    }
    return "no error";
  }
  std::string message_of(const std::string& header, const std::string& data = std::string(16, 'x')) const {
    write_file(header, header.size(), data);
    return message();
  }
};

TEST_F(Safetensors, ReadsWhatItWroteAlsoInShards) {
  const NamedTensors tensors{{"a", at::randn({3, 5})},
                             {"b", at::randn({4}).to(at::kBFloat16)},
                             {"c", at::randn({2, 2}).to(at::kHalf)},
                             {"d", at::arange(6)}};
  for (const std::int64_t shard_bytes : {std::int64_t{1} << 30, std::int64_t{40}}) {
    std::filesystem::remove_all(folder);
    write_safetensors(folder, tensors, shard_bytes);
    const SafetensorsFolder read(folder);
    EXPECT_EQ(read.names().size(), 4u);
    for (const auto& [name, tensor] : tensors) EXPECT_TRUE(at::equal(read.read(name), tensor)) << name;
    EXPECT_THROW(read.read("missing"), Error);
  }
  std::filesystem::remove(folder + "/model-00002-of-00003.safetensors");
  EXPECT_NE(message().find("model-00002-of-00003.safetensors"), std::string::npos);
}

TEST_F(Safetensors, HostileHeadersEndInAMessage) {
  EXPECT_NE(message().find("neither"), std::string::npos);
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/model.safetensors") << "abc";
  EXPECT_NE(message().find("shorter"), std::string::npos);
  write_file("{}", std::uint64_t{1} << 60, "");
  EXPECT_NE(message().find("claims"), std::string::npos);
  write_file("{}", 100, "");
  EXPECT_NE(message().find("claims"), std::string::npos);
  EXPECT_NE(message_of("not json").find("not JSON"), std::string::npos);
  EXPECT_NE(message_of("[1]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(message_of(std::string(5000, '[')).find("header"), std::string::npos);
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(message_of(entry("F32", "[4]", "[0,16]")), "no error");
  EXPECT_NE(message_of(entry("F32", "[4]", "[0,20]")).find("outside"), std::string::npos);
  EXPECT_NE(message_of(entry("F32", "[4]", "[16,0]")).find("outside"), std::string::npos);
  EXPECT_NE(message_of(entry("F32", "[3]", "[0,16]")).find("disagree"), std::string::npos);
  EXPECT_NE(message_of(entry("F32", "[-4]", "[0,16]")).find("bad shape"), std::string::npos);
  EXPECT_NE(message_of(entry("F32", "[4611686018427387904,4]", "[0,16]")).find("absurd"), std::string::npos);
  EXPECT_NE(message_of(entry("F32", "[281474976710656,281474976710656]", "[0,16]")).find("absurd"), std::string::npos);
  EXPECT_NE(message_of(entry("Q4", "[4]", "[0,16]")).find("Q4"), std::string::npos);
  EXPECT_NE(message_of(entry("F32", "4", "[0,16]")).find("malformed"), std::string::npos);
  EXPECT_NE(message_of(R"({"t":7})").find("malformed"), std::string::npos);
  EXPECT_NE(
      message_of(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})")
          .find("overlap"),
      std::string::npos);
  write_json(folder + "/model.safetensors.index.json", {{"weight_map", {{"t", "../../etc/passwd"}}}});
  std::filesystem::remove(folder + "/model.safetensors");
  EXPECT_NE(message().find("names no file of the folder"), std::string::npos);
}

}  // namespace
}  // namespace rluf
