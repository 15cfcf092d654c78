"""Checks what DESIGN of the rooms promises: links and includes point downwards, each third-party library stays in its
home room, files stay short (the width of lines is clang-format's). Usage: layers.py SOURCE_FOLDER; needs nothing but Python."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
problems = []


def complain(path, line, text):
    problems.append(f"{path.relative_to(root)}:{line}: {text}")


# Rooms and what each may use, read from the build itself.
cmake = (root / "src/CMakeLists.txt").read_text()
uses = {}
for match in re.finditer(r"rluf_room\((\w+)((?:\s[^)]*)?)\)", cmake):
    words = re.search(r"USES((?: \w+)*?)(?: LIBRARIES| PRECOMPILE|$)", match[2])
    uses[match[1]] = words[1].split() if words else []
stages = re.search(r"foreach\(stage ([^)]*)\)", cmake)[1].split()
below = re.search(r"USES \$\{earlier\} ([\w ]+)\)", cmake)[1].split()
for i, stage in enumerate(stages):
    uses[stage] = below + stages[:i]
rooms = list(uses)
if len(rooms) < 10:
    sys.exit("src/CMakeLists.txt could not be read: too few rooms found")
reach = {}
for room in rooms:
    for used in uses[room]:
        if used not in reach:
            problems.append(f"src/CMakeLists.txt: room {room} uses {used}, which comes later")
    reach[room] = {room}.union(*(reach.get(used, set()) | {used} for used in uses[room]))

# Third-party headers and their homes.
homes = [
    (r"mpi\.h", {"parallel"}),
    (r"nccl\.h", {"parallel"}),
    (r"cuda.*", {"parallel", "kernels"}),
    (r"hdf5\.h|H5.*public\.h", {"io"}),
    (r"pcre2.*", {"tokenizer"}),
    (r"boost/program_options.*", {"config"}),
    (r"boost/math/.*", {"statistics"}),
    (r"boost/crc\.hpp", {"io"}),
    (r"boost/iostreams.*|zlib\.h", {"io"}),
    (r"Kokkos_.*", {"kernels", "parallel"}),
    (r"torch/torch\.h", {"model", *stages}),
]


def room_of(path):
    parts = path.relative_to(root).parts
    parts = parts[1:] if parts[0] == "src" else parts[2:]
    if parts[0] == "pipeline" and len(parts) > 2:
        return parts[1]
    return "pipeline" if parts[0] in ("pipeline", "main.cpp") else parts[0]  # stage.hpp stands above model only


sources = sorted(p for folder in ("src", "include") for p in (root / folder).rglob("*") if p.suffix in (".cpp", ".hpp", ".cu"))
if len(sources) < 50:
    sys.exit("too few sources found")
for path in sources:
    room = room_of(path)
    if room not in reach:
        complain(path, 1, f"belongs to no room of src/CMakeLists.txt ({room})")
        continue
    lines = path.read_text().splitlines()
    if path.suffix == ".hpp" and "#pragma once" not in lines:
        complain(path, 1, "a header without #pragma once")
    for number, line in enumerate(lines, 1):
        include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not include:
            continue
        header = include[2]
        own = re.match(r"rluf/(?:pipeline/)?(\w+)/", header)
        what_a_stage_is = header == "rluf/pipeline/stage.hpp" and (room in stages)
        if own and own[1] not in reach[room] and not what_a_stage_is:
            complain(path, number, f"room {room} includes {header}, a room that it may not use")
        for pattern, allowed in homes:
            if re.fullmatch(pattern, header) and room not in allowed:
                complain(path, number, f"{header} belongs to {', '.join(sorted(allowed))} only")
        if path.suffix == ".hpp" and header in ("torch/torch.h", "ATen/ATen.h"):
            complain(path, number, f"{header} in a header makes every source slow: <ATen/core/Tensor.h> is enough")

# Length, and paths of somebody's machine.
machine_path = re.compile(r"/(?:work|home|root|scratch)/[A-Za-z0-9_]")
texts = [p for folder in ("src", "include", "tests", "jobs", "inputs", "modules") for p in (root / folder).rglob("*")
         if p.suffix in (".cpp", ".hpp", ".cu", ".py", ".sh", ".ini", ".cmake", ".txt", ".sbatch", ".pbs", ".lua")]
for path in sorted(texts):
    lines = path.read_text(errors="replace").splitlines()
    if len(lines) > 400:
        complain(path, len(lines), "more than 400 lines: split it by what it does")
    for number, line in enumerate(lines, 1):
        if machine_path.search(line):
            complain(path, number, "a path of one machine")
main = (root / "src/main.cpp").read_text().splitlines()
if len(main) >= 60:
    complain(root / "src/main.cpp", len(main), "main should read as the run: under 60 lines")

print("\n".join(problems) or f"{len(sources)} sources in {len(rooms)} rooms: the layers hold")
sys.exit(bool(problems))
