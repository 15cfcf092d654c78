#pragma once
/// The report's sections, each a piece of HTML from the tables of the stages before it.
#include <string>

#include "rluf/io/run_directory.hpp"

namespace rluf {

/// What a member of a table holds; an empty list if there is none.
nlohmann::json list_of(const nlohmann::json& object, const char* key);
/// A sentence that says that nothing can be shown, of class "missing".
std::string missing_stage(const std::string& stage);
/// What the paper reports (arXiv 2505.14946), set apart from what the run found.
std::string paper_says(const std::string& text);

/// Which signal, how good the models are, what was gained and lost, whether it was hacked, whether to ship.
std::string decision_section(const RunDirectory& directory);
/// Of a recommend() table: each policy's gains and losses with its verdicts, and love against each guardrail.
std::string policies_part(const nlohmann::json& recommendation);
/// Policies of several settings side by side; the table "sweep" must be there.
std::string sweep_section(const RunDirectory& directory);
/// Findings of the paper beside those of this run.
std::string summary_section(const RunDirectory& directory);
std::string signals_section(const RunDirectory& directory);
std::string data_section(const RunDirectory& directory);
std::string rewards_section(const RunDirectory& directory);
std::string evaluation_section(const RunDirectory& directory);
/// Arms and policies by the log, the table "log" of the evaluation.
std::string log_part(const nlohmann::json& evaluation);
std::string policy_section(const RunDirectory& directory);
std::string validation_section(const RunDirectory& directory);
std::string alarms_section(const RunDirectory& directory);
std::string learning_curves_section(const RunDirectory& directory);

}  // namespace rluf
