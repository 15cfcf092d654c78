"""The Spack files: concretized where a Spack is at hand, else read as what they are (YAML, Python) and compared with the build."""
import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

source = pathlib.Path(os.environ["RLUF_SOURCE"])
sys.path.insert(0, str(source / "tests/pipeline"))
from program import check, finish  # noqa: E402

import yaml  # noqa: E402  (comes with transformers)

environment = yaml.safe_load((source / "spack.yaml").read_text())["spack"]
check(environment["specs"] == ["$rluf"] and len(environment["definitions"]) == 2, "specs")
check([definition["when"].rsplit(" ", 1)[1] for definition in environment["definitions"]] == ['"cuda"', '"cpu"'], "one definition a device")
check((source / environment["repos"]["rluf"].replace("$env", str(source))).is_dir(), "the repository that it names")
check(all((source / path).is_file() for path in environment["include"]), "the files that it includes")
modules = yaml.safe_load((source / "modules/modules.yaml").read_text())["modules"]["default"]
check(modules["enable"] == ["lmod"] and (source / "modules/templates" / modules["lmod"]["rluf"]["template"]).is_file(), "the module template")
repository = source / "modules/spack_repo/rluf"
check(yaml.safe_load((repository / "repo.yaml").read_text())["repo"] == {"namespace": "rluf", "api": "v2.0"}, "repo.yaml")
tree = ast.parse((repository / "packages/rluf/package.py").read_text())
recipe = next(node for node in tree.body if isinstance(node, ast.ClassDef))
check(recipe.name == "Rluf" and {base.id for base in recipe.bases} == {"CMakePackage", "CudaPackage"}, "the recipe's class")
needed = {re.split(r"[@ ]", node.args[0].value)[0] for node in ast.walk(tree)
          if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "depends_on" and isinstance(node.args[0], ast.Constant)}
names = {"MPI": "mpi", "HDF5": "hdf5", "Boost": "boost", "ZLIB": "zlib-api", "nlohmann_json": "nlohmann-json", "PkgConfig": "pkgconfig",
         "Kokkos": "kokkos", "CUDAToolkit": "cuda"}
found = re.findall(r"find_package\((\w+)", (source / "src/RlufDependencies.cmake").read_text())
check(len(found) == len(names), f"packages of the build: {found}")
for name in found:
    check(names.get(name, "?") in needed, f"the build looks for {name}, the recipe lacks it")
check({"pcre2", "py-torch", "nccl", "googletest"} <= needed, f"the recipe's dependencies: {needed}")
options = set(re.findall(r"^option\((\w+)", (source / "CMakeLists.txt").read_text(), re.M))
given = set(re.findall(r'define(?:_from_variant)?\("(RLUF_\w+)"', (repository / "packages/rluf/package.py").read_text()))
check(given <= options, f"the recipe sets {given - options}, which the build does not know")
spack = shutil.which("spack")
if spack is None:
    print("no Spack here: the environment was read, not concretized")
else:
    for device in ("cpu", "cuda"):
        result = subprocess.run([spack, "-e", source, "concretize", "--fresh"], capture_output=True, text=True, env={**os.environ, "RLUF_DEVICE": device})
        check(result.returncode == 0, f"concretize for {device}\n{result.stderr[-1500:]}")
finish(12)
