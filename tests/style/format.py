"""Checks that sources look as .clang-format says. Usage: format.py SOURCE_FOLDER. Skips, exit code 77, without clang-format
14, the one of Debian 12: other versions break some lines otherwise."""
import pathlib
import re
import shutil
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
program = shutil.which("clang-format-14") or shutil.which("clang-format")
if not program:
    print("skipped: no clang-format here (Debian: apt-get install clang-format)")
    raise SystemExit(77)
version = re.search(r"version (\d+)", subprocess.run([program, "--version"], capture_output=True, text=True).stdout)
if not version or version[1] != "14":
    print(f"skipped: clang-format is of version {version[1] if version else '?'}, not 14")
    raise SystemExit(77)
files = sorted(str(path) for folder in ("src", "include", "tests") for path in (root / folder).rglob("*")
               if path.suffix in (".cpp", ".hpp", ".cu"))
if len(files) < 50:
    sys.exit("too few sources found")
result = subprocess.run([program, "--dry-run", "-Werror", *files], capture_output=True, text=True)
wrong = sorted({line.split(":")[0] for line in result.stderr.splitlines() if ": error: " in line})
for path in wrong:
    print(f"not formatted: {pathlib.Path(path).relative_to(root)}")
if wrong:
    print("put right with: clang-format -i FILE ...")
else:
    print(f"{len(files)} files are formatted")
sys.exit(result.returncode != 0)
