"""A checkpoint of 1.1 GB on two ranks against plain pwrite of the same memory in the same run, and how long training waits for it."""
import json, subprocess, sys, tempfile

from measure import BUILD, MPIRUN, report

folder = sys.argv[1] if len(sys.argv) > 1 else None
with tempfile.TemporaryDirectory(dir=folder) as place:
    lines = subprocess.run(MPIRUN + [BUILD / "bench_checkpoint", place, "1100"], check=True, capture_output=True, text=True).stdout
runs = [json.loads(line) for line in lines.splitlines()][1:]  # the first one meets fresh disk blocks
standstill = max(run["standstill_seconds"] / run["seconds"] for run in runs)
report("checkpoint", f"{runs[0]['bytes'] / 1e9:.2f} GB of state to one HDF5 file, checksums, synced and read back, 2 ranks",
       f"training waited for {standstill:.3f} of the write", [(run["seconds"], 0) for run in runs], [(run["raw_seconds"], 0) for run in runs], 0.8,
       "pwrite and fsync of the same memory")
