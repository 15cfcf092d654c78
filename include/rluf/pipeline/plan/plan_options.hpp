#pragma once
/// Options of `rluf plan`: the machine, and what the run's own options do not say.
#include <cstdint>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"

namespace rluf {

struct PlanOptions {
  std::int64_t ranks = 8, ranks_per_node = 8;
  std::string device = "h100-sxm";
  // Measured figures that override the table; 0: the table's.
  double matrix_tflops = 0, memory_gb = 0, memory_gb_per_second = 0, link_gb_per_second = 0;
  double network_gb_per_second = 0, host_gb_per_second = 0;
  double host_memory_gb_per_second = 50;
  double matrix_efficiency = 0.65, attention_efficiency = 0.4, memory_efficiency = 0.85, network_efficiency = 0.8;
  double collective_microseconds = 20, file_system_gb_per_second = 10;
  double log_lines_per_second = 80000, log_rows_per_second = 40000;
  double overlap = 0, program_gb = 2, spare_share = 0.05;

  std::vector<std::string> stages = {"signals", "sft",      "love",   "helpfulness",
                                     "safety",  "evaluate", "policy", "validate"};
  std::string model = "", love_model = "", helpfulness_model = "", safety_model = "", witness_model = "",
              judge_model = "";
  double interactions = 0, sft_examples = 0, love_examples = 0, helpfulness_pairs = 0, safety_pairs = 0;
  double prompts = 0, held_out_prompts = 0;
  double love_tokens = 512, prompt_tokens = 256, response_tokens = 128, judge_tokens = 40;

  bool search = true;
  std::string placement = "auto";
  void describe(OptionTable& table);
};

}  // namespace rluf
