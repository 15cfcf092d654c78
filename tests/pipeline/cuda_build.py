"""The CUDA build (build-cuda, made by tests/run.sh where nvcc is) starts without a GPU, says so, and runs on the CPU with
the numbers of the CPU build. Skips, exit code 77, where there is none."""
import csv
import os
import pathlib
import shutil
import subprocess
import tempfile

from program import check, finish, program, source, tiny

folder = pathlib.Path(os.environ.get("RLUF_CUDA_BUILD", source / "build-cuda"))
cuda_program = folder / "rluf"
if not (shutil.which("nvcc") or pathlib.Path("/usr/local/cuda/bin/nvcc").exists()):
    print("skipped: no nvcc on this machine, so there is no CUDA build")
    raise SystemExit(77)
if not cuda_program.exists():
    print(f"skipped: no {cuda_program}; bash tests/run.sh builds it (or cmake -B build-cuda -DRLUF_CUDA=ON)")
    raise SystemExit(77)
stale = subprocess.run(["cmake", "--build", folder, "--target", "rluf", "--", "-n"], capture_output=True, text=True)
if "no work to do" not in stale.stdout:
    print(f"note: {cuda_program} is older than its sources")


def start(command, *arguments, **more):
    """With nothing in the environment that could lead the loader or MPI, and at most one rank."""
    clean = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run([command, *map(str, arguments)], env=clean, capture_output=True, text=True, timeout=600)


def numbers(directory):
    with open(directory / "metrics.csv") as file:
        return {(row["stage"], row["step"], row["name"]): float(row["value"]) for row in csv.DictReader(file)
                if "second" not in row["name"] and "memory" not in row["name"]}


needed = subprocess.run(["readelf", "-d", cuda_program], capture_output=True, text=True).stdout
for library in ("libtorch_cuda.so", "libc10_cuda.so", "libnccl.so", "libcudart.so"):
    check(f"[{library}" in needed, f"{library} was dropped by the linker")
version = start(cuda_program, "--version")
print(version.stdout)
check(version.returncode == 0, "it starts without LD_LIBRARY_PATH\n" + version.stderr)
for name in ("CUDA", "NCCL"):
    line = [line for line in version.stdout.splitlines() if line.startswith(name)]
    check(len(line) == 1 and "none" not in line[0], f"--version names {name}: {line}")

work = pathlib.Path(tempfile.mkdtemp(prefix="rluf_cuda_"))
if "no GPU" in version.stdout:
    asked = start(cuda_program, "run", tiny, "--run.device=cuda", f"--run.directory={work}/none")
    check(asked.returncode == 2 and asked.stderr.count("error: ") == 1 and "no GPU was found" in asked.stderr,
          f"run.device = cuda without a GPU: {asked.returncode}\n{asked.stderr[-800:]}")
device = "auto" if "no GPU" in version.stdout else "cpu"
for name, binary in (("cpu", program), ("cuda", cuda_program)):
    result = start(binary, "run", tiny, f"--run.device={device}", f"--run.directory={work}/{name}")
    check(result.returncode == 0, f"a run of the {name} build\n{result.stderr[-1500:]}")
cpu, cuda = numbers(work / "cpu"), numbers(work / "cuda")
check(len(cpu) > 100 and cpu == cuda, f"the CUDA build's {len(cuda)} numbers are those of the CPU build's {len(cpu)}")

tests = start(folder / "gpu_test")
check(tests.returncode == 0, "GPU tests pass or skip\n" + tests.stdout[-1500:] + tests.stderr[-500:])
if "no GPU" in version.stdout:
    check("no GPU on this machine" in tests.stdout, "GPU tests say why they skip\n" + tests.stdout[-800:])
    tests = start(folder / "gpu_test", RLUF_GPU_TEST_DEVICE="cpu")
    check(tests.returncode == 0 and "[       OK ] CrraftOnGpu" in tests.stdout,
          "the comparisons of the GPU tests hold between CPU and CPU\n" + tests.stdout[-1500:])
shutil.rmtree(work)
finish(8)
