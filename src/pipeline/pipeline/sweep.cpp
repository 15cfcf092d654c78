#include "sweep.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/report/report.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

std::string joined(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += concat(text.empty() ? "" : ", ", value);
  return text;
}

/// Number of the first stage whose result depends on the option.
std::ptrdiff_t first_stage_of(const std::string& option, const std::vector<Stage>& stages) {
  const std::string section = kind_of_section(option);
  if (option == "run.seed") return 0;
  for (auto stage = stages.begin(); stage->name != "validate"; ++stage)
    if (std::any_of(stage->sections.begin(), stage->sections.end(),
                    [&](const std::string& one) { return kind_of_section(one) == section; }))
      return stage - stages.begin();
  fail_input(concat("sweep.vary or sweep.settings names ", option), "policies do not depend on it",
             "vary options of the stages up to policy, or run.seed");
}

/// How many stages come before the first one of the point's own; policy is always its own.
std::ptrdiff_t num_shared_stages(const SweepPoint& point, const std::vector<Stage>& stages) {
  std::ptrdiff_t number = first_stage_of("policy.", stages);
  for (const auto& [option, value] : point.values) number = std::min(number, first_stage_of(option, stages));
  return number;
}
/// What some point shares with the others.
std::ptrdiff_t num_shared_stages(const std::vector<SweepPoint>& points, const std::vector<Stage>& stages) {
  std::ptrdiff_t number = 0;
  for (const SweepPoint& point : points) number = std::max(number, num_shared_stages(point, stages));
  return number;
}

std::size_t number_of_point(const SweepOptions& options, const std::vector<SweepPoint>& points) {
  const std::string& text = options.points;
  const bool is_number = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
  const std::size_t number = is_number ? std::stoul(text) : 0;
  if (number < 1 || number > points.size())
    fail_input(concat("sweep.points = ", text), concat("the sweep has ", points.size(), " points"),
               "use all, none, or the number of a point from 1");
  return number;
}

/// A point as it is tried: with which love weights, for how many rounds, where.
struct Trial {
  SweepPoint point;
  std::vector<double> love_weights;
  std::int64_t rounds = 0;
  std::string directory;
};

/// The options of a trial: complete, and checked.
void read_options(const CommandLine& line, const Trial& trial, RunConfig& config, OptionTable& table) {
  std::vector<std::string> settings = line.settings;
  for (const auto& [option, value] : trial.point.values) settings.push_back(option + "=" + value);
  table.read(line.ini_files, settings);
  config.run.directory = trial.directory;
  if (config.sweep.method == "halving") {
    config.policy.rounds = trial.rounds;
    config.policy.love_weights = trial.love_weights;
  }
  config.complete();
  config.check("run");
}

class Sweep {
 public:
  Sweep(const CommandLine& line, const Job& job, std::vector<SweepPoint> points)
      : line_(line),
        job_(job),
        config_(job.config),
        world_(job.grid.world),
        points_(std::move(points)),
        stages_(make_stages(config_)),
        num_shared_(num_shared_stages(points_, stages_)),
        directory_(config_.run.directory, world_, config_.run.checkpoints, config_.run.metrics) {}

  void run() {
    const std::string& which = config_.sweep.points;
    if (which != "all" && which != "none") return try_one(points_[number_of_point(config_.sweep, points_) - 1]);
    plan_shared();
    work_on(directory_, job_, [&](const StageContext& context) {
      run_stages(plan_shared(), config_, context);
      if (which == "none") return;
      const Json table = config_.sweep.method == "grid" ? grid_table() : halving_table();
      guarded(world_, [&] { directory_.write_table("sweep", table); });
      log_info("sweep: " + table.at("sentence").get<std::string>());
      run_report(config_.guardrails, context);
    });
    log_info(concat("results: ", directory_.path(), which == "all" ? "/report.html" : ""));
  }

 private:
  std::vector<PlannedStage> plan_shared() const {
    return plan_stages({stages_.begin(), stages_.begin() + num_shared_}, true, config_, job_.table, directory_, world_);
  }

  Trial whole_trial(const SweepPoint& point) const {
    Trial trial{point, config_.policy.love_weights, config_.policy.rounds, directory_.path() + "/sweep/" + point.name};
    RunConfig config;
    OptionTable table = config.table();
    read_options(line_, trial, config, table);
    trial.love_weights = config.policy.love_weights;  // either may be what varies
    trial.rounds = config.policy.rounds;
    return trial;
  }

  void try_one(const SweepPoint& point) {
    for (const PlannedStage& shared : plan_shared())
      if (!shared.is_done)
        fail_input(concat("the stage ", shared.stage.name, " of ", directory_.path(), " is not done"),
                   "all points of the sweep need it", "run rluf sweep with --sweep.points=none before");
    train(whole_trial(point), false);
    log_info(concat("results: ", whole_trial(point).directory, "/report.html"));
  }

  /// Makes what the shared stages made look like the trial's own. Links say the way from one to the other, so that the
  /// whole may be moved.
  void link_shared(const std::string& trial, std::ptrdiff_t num_shared) const {
    if (world_.rank() != 0) return;
    for (auto stage = stages_.begin(); stage < stages_.begin() + num_shared; ++stage)
      for (const std::string& made : stage->hands_on) {
        const fs::path path = fs::path(directory_.path()) / made, place = fs::path(trial) / made;
        if (fs::exists(path) && !fs::exists(fs::symlink_status(place)))
          fs::create_symlink(fs::relative(path, place.parent_path()), place);
      }
  }

  /// As rank 0 sees it, who has written it; an empty object if there is none.
  Json table_on_all_ranks(const RunDirectory& directory, const std::string& name) const {
    std::string text = "{}";
    guarded(world_, [&] {
      if (world_.rank() == 0 && directory.has_table(name)) text = directory.read_table(name).dump();
    });
    return Json::parse(world_.broadcast(text, 0));
  }

  /// Does the trial's own stages. @return the table of its validation; null if an alarm stopped it
  Json train(const Trial& trial, bool is_part) {
    RunConfig config;
    OptionTable table = config.table();
    read_options(line_, trial, config, table);
    const std::vector<Stage> stages = make_stages(config);
    const RunDirectory directory(trial.directory, world_, config.run.checkpoints, config.run.metrics);
    const std::ptrdiff_t num_shared = num_shared_stages(trial.point, stages_);
    guarded(world_, [&] { link_shared(trial.directory, num_shared); });
    std::string alarm = table_on_all_ranks(directory, "stopped").value("sentence", "");
    if (alarm.empty())
      work_on(directory, {line_.command, config, table, job_.grid, job_.environment, is_part},
              [&](const StageContext& context) {
                try {
                  run_stages(
                      plan_stages({stages.begin() + num_shared, stages.end()}, true, config, table, directory, world_),
                      config, context);
                } catch (const Error& error) {
                  if (error.code() != ExitCode::kAlarm) throw;
                  alarm = error.what();
                  guarded(world_, [&] { directory.write_table("stopped", {{"sentence", alarm}}); });
                }
              });
    if (alarm.empty()) return table_on_all_ranks(directory, "validation");
    log_warning(concat("sweep: point ", trial.point.name, " is out: ", alarm));
    return nullptr;
  }

  /// The point, and which alarms rang first when while its policies were trained: of one, or of all together.
  Json facts_of(const Trial& trial, const std::vector<double>& love_weights) const {
    const RunDirectory directory(trial.directory, world_);
    Json facts{{"point", trial.point.name}, {"setting", trial.point.setting}, {"alarms", Json::array()}};
    for (const auto& [option, value] : trial.point.values) facts["values"][option] = value;
    for (const double weight : love_weights) {
      const Json looks = table_on_all_ranks(directory, "alarms_" + policy_name(weight)).value("looks", Json::array());
      for (const Json& alarm : first_alarms(looks)) facts["alarms"].push_back(alarm);
      if (!looks.empty()) facts["love_factor"] = looks.back().at("love_factor");
    }
    facts["rounds"] = trial.rounds;
    facts["directory"] = fs::relative(trial.directory, directory_.path()).string();
    return facts;
  }

  /// Tries all, and puts their policies side by side; each row also has facts_of() it and its held_out_figures().
  Json compare(const std::vector<Trial>& trials) {
    std::vector<PolicyFigures> figures;
    std::vector<Json> facts;
    Json out = Json::array(), reference;
    for (const Trial& trial : trials) {
      log_info(concat("sweep: point ", trial.point.name, " of ", points_.size(), ", ", trial.rounds,
                      " rounds, love weights ", joined(trial.love_weights)));
      const Json validation = train(trial, true);
      if (validation.is_null()) {
        out.push_back(facts_of(trial, trial.love_weights));
        continue;
      }
      if (reference.is_null()) reference = held_out_figures(validation, "reference");
      for (PolicyFigures& policy : policy_figures(validation, "reference")) {
        facts.push_back(facts_of(trial, {policy.love_weight}));
        facts.back()["held_out"] = held_out_figures(validation, policy.name);
        policy.name = trial.point.name + "/" + policy.name;
        figures.push_back(std::move(policy));
      }
    }
    Json table = recommend("reference", figures, config_.guardrails);
    for (std::size_t i = 0; i < figures.size(); ++i) table["policies"][i].update(facts[i]);
    table["reference"] = reference;
    table["stopped_by_alarms"] = out;
    return table;
  }

  Json grid_table() {
    std::vector<Trial> trials;
    for (const SweepPoint& point : points_) trials.push_back(whole_trial(point));
    Json table = compare(trials);
    table["rungs"] = Json::array();
    return table;
  }

  Json halving_table() {
    std::map<std::string, std::vector<double>> going_on;  // by point
    for (const SweepPoint& point : points_) going_on[point.name] = config_.policy.love_weights;
    Json table, rungs = Json::array();
    for (const std::int64_t rounds :
         rung_rounds(config_.policy.rounds, config_.sweep.first_rounds, config_.sweep.keep)) {
      std::vector<Trial> trials;
      for (const SweepPoint& point : points_)
        if (!going_on[point.name].empty())
          trials.push_back({point, going_on[point.name], rounds,
                            concat(directory_.path(), "/sweep/rounds_", rounds, "/", point.name)});
      if (trials.empty()) break;
      table = compare(trials);
      if (rounds == config_.policy.rounds) break;
      going_on.clear();
      Json kept = Json::array();
      for (const std::size_t i : survivors(table, config_.sweep.keep)) {
        const Json& row = table["policies"][i];
        going_on[row.at("point")].push_back(row.at("love_weight"));
        kept.push_back(row.at("name"));
      }
      for (auto& [point, weights] : going_on) std::sort(weights.begin(), weights.end());
      rungs.push_back({{"rounds", rounds}, {"policies", table["policies"].size()}, {"go_on", kept}});
    }
    table["rungs"] = rungs;
    return table;
  }

  const CommandLine& line_;
  const Job& job_;
  const RunConfig& config_;
  const Communicator& world_;
  const std::vector<SweepPoint> points_;
  const std::vector<Stage> stages_;
  const std::ptrdiff_t num_shared_;
  const RunDirectory directory_;
};

}  // namespace

void check_sweep(const CommandLine& line, const RunConfig& config) {
  if (config.run.restart != "auto")
    fail_input(concat("run.restart = ", config.run.restart, " with sweep"),
               "it would name a checkpoint of one point for all of them",
               "leave it out; to do a point again remove its folder below RUN/sweep");
  const SweepOptions& options = config.sweep;
  const std::vector<SweepPoint> points = sweep_points(options.settings, options.vary);
  num_shared_stages(points, make_stages(config));
  if (options.points != "all" && options.points != "none") number_of_point(options, points);
  if (options.method == "halving") {
    if (options.points != "all" && options.points != "none")
      fail_input(concat("sweep.points = ", options.points, " with sweep.method = halving"),
                 "which points go on is known only after the others", "use sweep.method = grid, or sweep.points = all");
    for (const SweepPoint& point : points)
      for (const char* option : {"policy.rounds", "policy.love_weights"})
        if (point.value_of(option) != nullptr)
          fail_input(concat("sweep.vary or sweep.settings names ", option, " with sweep.method = halving"),
                     "halving sets it itself, from policy.rounds and policy.love_weights", "leave it out, or use grid");
    rung_rounds(config.policy.rounds, options.first_rounds, options.keep);
  }
  for (const SweepPoint& point : points) {
    RunConfig trial;
    OptionTable table = trial.table();
    read_options(line, {point, config.policy.love_weights, config.policy.rounds, config.run.directory}, trial, table);
  }
}

void run_sweep(const CommandLine& line, const Job& job) {
  Sweep(line, job, sweep_points(job.config.sweep.settings, job.config.sweep.vary)).run();
}

}  // namespace rluf
