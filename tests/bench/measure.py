"""What the benches share: the machine's description, texts, processes of rluf that wait for work, alternating runs of
both sides, and the line that run.sh puts into its table."""
import gzip, json, os, pathlib, platform, statistics, subprocess, sys, time

THREADS = int(os.environ.get("THREADS", len(os.sched_getaffinity(0))))
REPETITIONS = int(os.environ.get("REPETITIONS", 5))
BUILD = pathlib.Path(os.environ.get("RLUF_BUILD", "build"))
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(THREADS)]
SOURCE = pathlib.Path(__file__).resolve().parents[2]
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # they would hold the peer's numpy to another processor's kernels
    os.environ.pop(name, None)
os.environ.update(OMP_NUM_THREADS=str(THREADS), OMP_PROC_BIND="false", HF_HUB_OFFLINE="1", WANDB_DISABLED="true",
                  TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS=str(THREADS))


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    flags = set(text.split("flags", 1)[-1].split("\n", 1)[0].split())
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "threads": THREADS,
            "flags": {flag: flag in flags for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")},
            "load": [round(load, 1) for load in os.getloadavg()]}


def log_file():
    """A feedback log: the one beside the checkout, else one of the simulated world."""
    beside = SOURCE.parent / "shared/data/interactions.jsonl.gz"
    if beside.exists():
        return beside
    folder = BUILD / "bench/world"
    found = next(folder.rglob("interactions.jsonl.gz"), None)
    if found is None:
        subprocess.run([BUILD / "simulation_stage", folder, "20000"], check=True, stdout=subprocess.DEVNULL)
        found = next(folder.rglob("interactions.jsonl.gz"))
    return found


def rows_of(path, count):
    with gzip.open(path, "rt", encoding="utf-8") as source:
        return [json.loads(line) for line, _ in zip(source, range(count))]


class Worker:
    """A process of ours that answers a line of JSON with another."""
    alive = []

    def __init__(self, program, *arguments):
        Worker.alive.append(self)
        self.process = subprocess.Popen([BUILD / program, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args[0]} ended with exit code {self.process.wait()}")
        return json.loads(answer)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        Worker.alive.remove(self)
        self.process.stdin.close()
        self.process.wait()


def cpu_seconds():
    """Of this process, of those that it has waited for and of the workers. Waiting for a busy core costs none."""
    return sum(os.times()[:4]) + sum(worker.cpu_seconds() for worker in Worker.alive)


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def alternate(ours, peer, repetitions=REPETITIONS):
    """Both sides in turn after a warm-up, so both see the same load of the machine; each returns its seconds.
    Lists of (seconds, CPU seconds)."""
    def spent(side):
        start = cpu_seconds()
        return side(), cpu_seconds() - start

    ours(), peer()
    pairs = [(spent(ours), spent(peer)) for _ in range(repetitions)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def report(name, work, same, ours, peers, goal, peer_name):
    """Prints the table's line: `same` says how it was checked that both did the same work."""
    def median(values):
        return statistics.median(values)

    print(json.dumps({"bench": name, "work": work, "same_work": same, "peer": peer_name,
                      "rluf_s": round(median(seconds for seconds, _ in ours), 4),
                      "peer_s": round(median(seconds for seconds, _ in peers), 4),
                      "ratio": round(median(peer[0] / our[0] for our, peer in zip(ours, peers)), 2),
                      "cpu_ratio": round(median(peer[1] / max(our[1], 0.01) for our, peer in zip(ours, peers)), 2),
                      "goal": goal, "repetitions": len(ours), "load": round(os.getloadavg()[0], 1), "threads": THREADS}),
          flush=True)


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)
