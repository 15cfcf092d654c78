#include "rluf/pipeline/pipeline/command.hpp"

namespace rluf {

std::string parameter_page(const OptionTable& table) {
  return "# Inputs\n\n"
         "Run descriptions, and every option that they can set. A run description is a text file:\n\n"
         "    # a comment\n"
         "    [section]\n"
         "    key = value        # lists: a, b, c; a value with # in it goes in double quotes; ${NAME} is taken from\n"
         "                       # the environment\n\n"
         "| file | what it runs |\n| --- | --- |\n"
         "| quickstart.ini | a simulated chat world from log to validated policies, ten minutes on two cores |\n"
         "| full.ini | the same world with the whole method, to the decision which policy to ship, ten minutes |\n"
         "| hacking.ini | the same world with a love weight far too high: what the alarms find and what stops it, ten "
         "minutes |\n"
         "| smollm2.ini | SmolLM2-135M-Instruct on a real log, two hours on two cores |\n"
         "| reward_8b_1gpu.ini | the love model, 8B weights of which the last layers are trained, on one GPU of 80 GB "
         "|\n"
         "| lora_8b_1gpu.ini | by adapters on one GPU of 80 GB: policies of 8B weights, reward models of 1B "
         "|\n"
         "| rluf_8b_8gpu.ini | all stages with 8B weights on a node of eight GPUs of 80 GB |\n"
         "| rluf_70b_256gpu.ini | the published run: 8B and 70B models, 10,000 rounds a policy, on 256 GPUs of 80 GB "
         "|\n\n"
         "The four for GPUs name models and data that you bring, and say for `rluf plan` how many there are.\n\n"
         "    mpirun -n 2 build/rluf run inputs/quickstart.ini --run.directory=runs/mine --policy.rounds=10\n\n"
         "Later files override earlier ones, and the command line overrides files. Only what differs from the defaults "
         "needs\nto be there. `--print-config` prints the result as one file, `--validate` checks it and all that it "
         "names, and each run\nkeeps it as used.ini.\n\n"
         "**To add an input**, copy the nearest file, begin it with what it is for, how long it takes and where, and "
         "add its line\nto the table above, which is in src/pipeline/pipeline/parameter_page.cpp like all of this "
         "page. "
         "**To add an option**, give\nthe options struct of its room a member with its default and one line in "
         "`describe`; the file, the command line, the help,\nused.ini and this page follow from that. Then "
         "`build/rluf options > inputs/README.md`; a test compares the two.\n\n"
         "# Options\n" +
         table.print_markdown();
}

}  // namespace rluf
