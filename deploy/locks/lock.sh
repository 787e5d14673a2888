#!/bin/sh
# Writes the lock files in this folder from pyproject.toml: every package is pinned, with the hashes of its files.
#
#   make lock                    all of them
#   lock.sh UV gateway.txt ...   some of them, with the uv at this path
#
# The CPU build of PyTorch is on a separate index. Options of uv in TORCH_CPU can name another source:
# TORCH_CPU='--find-links FOLDER'.
set -eu
cd "$(dirname "$0")/../.."
uv=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# with this package OpenVINO reports every import to Google Analytics
echo openvino-telemetry >"$scratch/unwanted"

# Of Triton's wheel only the server is used, so the packages of its Python interface are left out. The gateway needs some
# of them for itself.
printf '%s\n' aiohttp geventhttpclient pyzmq sh typer typing-inspect wrapt >"$scratch/unused"
printf '%s\n' grpcio importlib-metadata protobuf tritonclient >"$scratch/gateways"

# compile FILE PYTHON SOURCE [OPTION...], for the images
compile() {
  resolve "$@" --python-platform x86_64-manylinux_2_36
}

# compile_for_all FILE PYTHON SOURCE [OPTION...], for this version of Python and all later ones, and every platform
compile_for_all() {
  resolve "$@" --universal
}

resolve() {
  file=$1 python=$2 source=$3
  shift 3
  echo "deploy/locks/$file"
  "$uv" pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
    --custom-compile-command "make lock" --python-version "$python" \
    --excludes "$scratch/unwanted" "$@" --output-file "deploy/locks/$file" "$source"
}

[ $# -gt 0 ] || set -- build.txt serve.txt demo.txt shots.txt gateway.txt triton.txt triton-gpu.txt triton-cpu.txt train-cuda.txt train-cpu.txt
for file; do
  case $file in
    # the build backend of this project's wheel
    build.txt) sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | compile build.txt 3.11 - ;;
    # one machine: `make up` and `make demo`, with each of the Pythons that pyproject.toml allows
    serve.txt) compile_for_all serve.txt 3.10 pyproject.toml --extra serve --excludes "$scratch/unused" ;;
    demo.txt) compile_for_all demo.txt 3.10 pyproject.toml --extra serve --extra demo --excludes "$scratch/unused" ;;
    # `landmarks track` and `landmarks export-tracks`
    shots.txt) compile_for_all shots.txt 3.10 pyproject.toml --extra vfx --extra usd ;;
    gateway.txt) compile gateway.txt 3.11 pyproject.toml --extra gateway --extra otel ;;
    # the Python of NVIDIA's image
    triton.txt) compile triton.txt 3.12 pyproject.toml --extra triton ;;
    triton-gpu.txt) compile triton-gpu.txt 3.12 pyproject.toml --extra triton-gpu ;;
    triton-cpu.txt)
      compile triton-cpu.txt 3.11 pyproject.toml --extra triton-cpu --excludes "$scratch/unused" \
        --excludes "$scratch/gateways" ;;
    # with the runtime of exported files, so that they can be evaluated
    train-cuda.txt) compile train-cuda.txt 3.11 pyproject.toml --extra train --extra triton ;;
    train-cpu.txt)
      sed -n 's/.*"\(torch==[^"]*\)".*/\1+cpu/p' pyproject.toml >"$scratch/torch"
      # shellcheck disable=SC2086 # several options
      compile train-cpu.txt 3.11 pyproject.toml --extra train --extra triton --override "$scratch/torch" \
        ${TORCH_CPU:---index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match} ;;
    *) echo "$file is not one of this folder's lock files" >&2; exit 2 ;;
  esac
done
