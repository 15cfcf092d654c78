"""cmake --install gives a tree that works after it was moved; a real Lmod loads its module and rluf runs from there."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

build, source, cmake = pathlib.Path(os.environ["RLUF_BUILD"]), pathlib.Path(os.environ["RLUF_SOURCE"]), os.environ["RLUF_CMAKE"]
sys.path.insert(0, str(source / "tests/pipeline"))
from program import check, finish  # noqa: E402

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_install_"))
first, moved = work / "first", work / "moved"
subprocess.run([cmake, "--install", build, "--prefix", first], check=True, capture_output=True)
first.rename(moved)
for path in ("bin/rluf", "share/rluf/inputs/quickstart.ini", "share/rluf/jobs/slurm/submit.sbatch", "share/rluf/jobs/pbs/restart.pbs",
             "share/rluf/jobs/launch.sh", "share/rluf/LICENSE"):
    check((moved / path).is_file(), f"{path} is installed")
check(not (moved / "share/rluf/jobs/setup.sh").exists(), "what sets up a workstation is left out")
version = subprocess.run([moved / "bin/rluf", "--version"], capture_output=True, text=True)
check(version.returncode == 0 and version.stdout.startswith("rluf "), f"the moved program\n{version.stderr}")
modulefiles = list((moved / "share/modulefiles/rluf").glob("*.lua"))
check(len(modulefiles) == 1 and "@" not in modulefiles[0].read_text(), f"one modulefile, filled in: {modulefiles}")
lmod = next((path for path in map(pathlib.Path, ("/usr/share/lmod/lmod/init/bash", "/usr/share/lmod/init/bash")) if path.exists()), None)
if lmod is None:
    print("no Lmod here: the modulefile was not loaded")
else:
    def bash(script):
        return subprocess.run(["bash", "-c", f"source {lmod}; module use {moved}/share/modulefiles; {script}"], capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin", "HOME": str(work)})

    result = bash("module load rluf && command -v rluf && echo $RLUF_ROOT && rluf --version")
    lines = result.stdout.splitlines()
    check(result.returncode == 0 and lines[:2] == [f"{moved}/bin/rluf", str(moved)] and lines[2:] == version.stdout.splitlines(),
          f"module load rluf\n{result.stdout}{result.stderr}")
    result = bash("module whatis rluf; module help rluf; module load rluf; module unload rluf; command -v rluf || echo gone $RLUF_ROOT")
    text = result.stdout + result.stderr
    check("Built with: GCC" in text and "srun rluf run my.ini" in text and "gone\n" in text, f"whatis, help, unload\n{text}")
# Every site's cache is CMake that runs; the modules that it names go into the modulefile.
for cache in sorted((source / "modules").glob("*.cmake")):
    result = subprocess.run([cmake, "-P", cache], capture_output=True, text=True)
    check(result.returncode == 0, f"{cache.name}\n{result.stderr}")
shutil.rmtree(work)
finish(12)
