// constraints_driver CASES.json OUT.json: whether responses follow instructions, for instructions_oracle.py.
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/constraints/instructions.hpp"

using namespace rluf;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Json out = Json::array();
  for (const Json& one : read_json(argv[1])) {
    const Instruction instruction{one.at("type"), one.at("arguments")};
    const std::string complaint = complaint_about(instruction);
    if (complaint.empty())
      out.push_back(follows(instruction, one.at("response").get<std::string>()));
    else
      out.push_back(complaint);
  }
  write_json(argv[2], out);
  return 0;
}
