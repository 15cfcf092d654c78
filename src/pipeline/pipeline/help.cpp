#include "rluf/core/error.hpp"
#include "rluf/pipeline/pipeline/command.hpp"
#include "rluf/pipeline/pipeline/run_config.hpp"

namespace rluf {
namespace {

struct CommandHelp {
  const char *name, *usage, *text, *example;
};

constexpr const char* kStageUsage = "[FILE.ini ...] [--section.key=value ...]";

const std::vector<CommandHelp>& commands() {
  static const std::vector<CommandHelp> list{
      {"run", kStageUsage,
       "All stages in order. Finished ones are skipped, an unfinished one continues from its checkpoint.",
       "mpirun -n 2 rluf run inputs/quickstart.ini"},
      {"simulate", kStageUsage,
       "Make a small chat world with known truth: log, pairs, prompts, candidates, an untrained model.",
       "rluf simulate inputs/quickstart.ini --simulate.rows=100000"},
      {"signals", kStageUsage,
       "Compare the users' signals in the log: how often, how tied to retention, how unambiguous; recommend one.",
       "mpirun -n 4 rluf signals inputs/smollm2.ini --data.interactions=log.jsonl.gz"},
      {"dataset", kStageUsage, "Turn the log and the preference files into HDF5 data sets and account for every row.",
       "mpirun -n 4 rluf dataset inputs/smollm2.ini --data.interactions=log.jsonl.gz"},
      {"sft", kStageUsage, "Make the reference policy: supervised training on data.sft, or a copy of model.base.",
       "mpirun -n 2 rluf sft inputs/quickstart.ini"},
      {"reward", kStageUsage, "Train the reward models (love, helpfulness, safety) and measure them on the hold-out.",
       "mpirun -n 2 rluf reward inputs/smollm2.ini --reward.objective=love"},
      {"evaluate", kStageUsage,
       "Rank candidate models offline by their mean corrected P[Love] on the same prompts; value models that served, "
       "and "
       "policies over them, from the log (evaluate.arm_field).",
       "mpirun -n 2 rluf evaluate inputs/smollm2.ini --data.candidates=answers/ --evaluate.arm_field=model"},
      {"policy", kStageUsage,
       "Train a policy for each love weight with CRRAFT, or another policy.optimizer, and a mixture of judges.",
       "mpirun -n 2 rluf policy inputs/quickstart.ini --policy.love_weights=0.0,0.1,0.3"},
      {"validate", kStageUsage,
       "Compare the policies with the reference: held-out prompts, and an A/B test in a simulated world.",
       "mpirun -n 2 rluf validate inputs/quickstart.ini --validate.ab_responses_per_user=20"},
      {"sweep", kStageUsage,
       "Train and validate policies with several settings, as a grid or by successive halving; recommend one.",
       "mpirun -n 2 rluf sweep inputs/quickstart.ini --sweep.vary=\"policy.kl_max: 5 20; policy.optimizer: crraft "
       "crpg\""},
      {"report", kStageUsage, "Write report.html from the tables of a run.",
       "rluf report inputs/quickstart.ini --run.directory=runs/love1"},
      {"tokenize", "MODEL_FOLDER [FILE]",
       "Print the token ids of a text (standard input without FILE), one line for each line of text.",
       "echo hello | rluf tokenize models/smollm2"},
      {"score", "MODEL_FOLDER FILE.jsonl",
       "Score responses {messages or prompt, response}: prints each row with raw_score and calibrated_probability, "
       "and what heads of love.also predict.",
       "rluf score runs/love1/models/love candidates.jsonl"},
      {"generate", "MODEL_FOLDER FILE.jsonl",
       "Answer prompts {messages or prompt}: prints each row with its response. Sampling as in [policy].",
       "rluf generate runs/love1/models/policy_w0.1 prompts.jsonl --policy.temperature=0"},
      {"export", "MODEL_FOLDER OUT_FOLDER",
       "Copy a chat or reward model folder, its weights in the type of model.save_dtype.",
       "rluf export runs/a/models/love love-bf16 --model.save_dtype=bfloat16"},
      {"abtest", "LOG.jsonl[.gz]",
       "Say what a real A/B test found: sample ratio, lift, pre-period, guardrails, segments, and a verdict for each "
       "arm.",
       "rluf abtest assignments.jsonl.gz --abtest.control=old --abtest.start=1767225600"},
      {"inspect", "FILE.h5 | MODEL_FOLDER",
       "Say what a checkpoint, a data set or a model folder holds, and whether it is whole.",
       "rluf inspect runs/love1/checkpoints/love/step_00000100.h5"},
      {"compare", "A B",
       "Say which tensors of two checkpoints or two model folders differ; exit code 0 if every bit is equal.",
       "rluf compare runs/a/models/love runs/b/models/love"},
      {"verify", "RUN", "Check every checkpoint (checksums) and model (shapes) of a run directory.",
       "rluf verify runs/love1"},
      {"prune", "RUN", "Remove the checkpoints of a run that run.keep_last and run.keep_every do not keep.",
       "rluf prune runs/love1 --run.keep_last=1"},
      {"plan", "[FILE.ini ...] [--section.key=value ...] [--header]",
       "Say whether a run fits a machine, how long it takes, what bounds it and which grid is best. Works without MPI.",
       "rluf plan inputs/rluf_70b_256gpu.ini"},
      {"plan-ab", "[FILE.ini ...] [--section.key=value ...]",
       "Say how many users and days an A/B test needs, from plan_ab options or from a log. Works without MPI.",
       "rluf plan-ab --data.interactions=log.jsonl.gz --plan_ab.lift=0.1"},
      {"preflight", kStageUsage,
       "Check an allocation before a long run: ranks, GPUs, all-reduce, file system, each with a verdict.",
       "srun rluf preflight my.ini"},
      {"status", "RUN",
       "Say what the job of a run directory is doing: stage, rate, end, checkpoint. Works without MPI.",
       "rluf status runs/love1"},
      {"request", "RUN checkpoint|stop",
       "Ask the job of a run directory for a checkpoint, or to stop with one, at the end of its step.",
       "rluf request runs/love1 stop"},
      {"summary", "RUN ...",
       "Put several runs side by side (seeds, love weights): a CSV table with means. Works without MPI.",
       "rluf summary runs/sweep/*"},
      {"options", "", "Print the parameter page: every option with default, unit, range and meaning.",
       "rluf options > inputs/README.md"},
  };
  return list;
}

/// What a stage makes and which options it looks at; nothing for other commands.
std::string stage_facts(const std::string& name) {
  RunConfig config;
  config.run.simulate = true;
  for (const Stage& stage : make_stages(config)) {
    if (stage.name != name) continue;
    std::string sections;
    for (const std::string& section : stage.sections)
      sections += concat(sections.empty() ? "" : ", ", "[", section, "]");
    return concat("Makes ", stage.makes, " below run.directory", sections.empty() ? "" : "; its options are in ",
                  sections, ".\nWith --validate it only checks that all it needs is there.\n");
  }
  return "";
}

}  // namespace

const std::vector<std::string>& command_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const CommandHelp& command : commands()) list.emplace_back(command.name);
    return list;
  }();
  return names;
}

std::string help_text(const std::string& name) {
  for (const CommandHelp& command : commands())
    if (name == command.name)
      return concat("Usage: rluf ", name, " ", command.usage, "\n\n", command.text, "\n", stage_facts(name),
                    "\nExample:\n  ", command.example,
                    "\n\nEvery option with its meaning: rluf options. General help: rluf --help.\n");
  std::string text =
      "rluf: reinforcement learning from user feedback, as one batch job.\n\n"
      "Turns a log of user reactions (a heart here and there) into a better chat model:\n"
      "  log -> signals -> dataset -> reward models (love, helpfulness, safety) -> policy (CRRAFT and others) -> "
      "validation -> "
      "report\n\n"
      "Usage:\n"
      "  rluf COMMAND [FILE.ini ...] [--section.key=value ...]      alone, or under mpirun or srun\n"
      "  A FILE.ini holds [section] and key = value lines. Later files override earlier ones, the command line "
      "overrides\n"
      "  files. Everything that a run makes goes to run.directory; started again, it goes on where it stopped.\n\n"
      "Commands:\n";
  for (const CommandHelp& command : commands())
    text +=
        concat("  ", command.name, std::string(10 - std::string(command.name).size(), ' '), " ", command.text, "\n");
  return text +
         "\nFlags:\n"
         "  --help           this text, or a command's: rluf score --help\n"
         "  --version        versions of rluf and its libraries\n"
         "  --validate       check options, files and models that the command needs, and stop\n"
         "  --restart=X      short for --run.restart=X: auto, latest, none, a step, a checkpoint file\n"
         "  --print-config   print the effective options as an input file, and stop\n"
         "  --header         of rluf plan: only the lines for the head of a job script\n"
         "  --dry-run        of rluf run: every one of plan.ranks ranks walks through a step of each stage on tensors "
         "without\n"
         "                   storage: memory, collectives that would not meet, parts that would be lost\n\n"
         "First steps:\n"
         "  mpirun -n 2 rluf run inputs/quickstart.ini                 a simulated world, ten minutes on two cores\n"
         "  mpirun -n 2 rluf run inputs/smollm2.ini --data.interactions=log.jsonl.gz --run.directory=runs/love1\n\n"
         "Signals: USR2 writes a checkpoint, USR1 and TERM write one and stop; rluf request does the same by a file.\n"
         "Exit codes: 0 done, 2 bad input, 3 bad data or checkpoint, 4 an alarm or a gate that is shut, 75 stopped "
         "with a checkpoint by a signal, a "
         "request "
         "or the\n"
         "end of the job's time (run the same command again to continue), 1 anything else.\n";
}

}  // namespace rluf
