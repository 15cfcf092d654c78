"""The command line: help, versions, unknown words, printed options, the parameter page."""
import tempfile

from program import check, check_error, finish, rluf, source, tiny

commands = ("run simulate dataset sft reward evaluate policy validate report tokenize score generate export inspect "
            "compare verify prune plan plan-ab options").split()
general = rluf("--help").stdout
count = 0
for command in commands:
    result = rluf(command, "--help")
    check(result.returncode == 0 and command in result.stdout, f"{command} --help")
    check(command in general, f"rluf --help names {command}")
    count += 1
version = rluf("--version").stdout
for name in ("rluf", "MPI", "HDF5", "LibTorch", "Kokkos", "CUDA", "NCCL"):
    check(name in version, f"--version names {name}")
for ranks in (0, 2):
    check_error(rluf("rewrad", ranks=ranks), 2, ["rewrad", "did you mean reward?"], f"misspelt command on {ranks}")
    check_error(rluf("run", "--validat", ranks=ranks), 2, ["did you mean --validate?"], f"misspelt flag on {ranks}")
    check_error(rluf("run", "--reward.objektive=love", ranks=ranks), 2, ["did you mean", "reward.objective"], "option")
    check_error(rluf("run", "none.ini", ranks=ranks), 2, ["none.ini"], "missing input file")
    count += 4
with tempfile.TemporaryDirectory() as folder:
    first = rluf("run", tiny, "--print-config", "--policy.love_weights=0.25")
    used = f"{folder}/used.ini"
    open(used, "w").write(first.stdout)
    second = rluf("run", used, "--print-config")
    check(first.returncode == 0 and second.returncode == 0, "--print-config ends with 0\n" + second.stderr)
    check("love_weights = 0.25\n" in first.stdout and first.stdout == second.stdout, "--print-config reads back the same")
    for input_file in sorted((source / "inputs").glob("*.ini")):
        result = rluf("run", input_file, "--print-config")
        check(result.returncode == 0, f"options of {input_file.name} are known\n{result.stderr}")
        count += 1
page = source / "inputs/README.md"
for input_file in sorted((source / "inputs").glob("*.ini")):
    check(input_file.name in page.read_text(), f"inputs/README.md has no line for {input_file.name}")
check("To add an input" in page.read_text() and "To add an option" in page.read_text(), "the page says how to add to it")
check(page.exists() and rluf("options").stdout == page.read_text(),
      "inputs/README.md is what `rluf options` prints: run build/rluf options > inputs/README.md")
finish(count)
