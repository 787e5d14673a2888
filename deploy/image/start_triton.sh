#!/bin/sh
# The entry point of the images with Triton: start_triton.sh [OPTION OF tritonserver...]
#
# LANDMARKS_PRECISION=int8 in the environment selects the 8-bit network, which is for CPUs.
set -eu
case "${LANDMARKS_PRECISION:-}" in
  "" | float32) ;;
  int8) set -- "$@" --model-config-name=int8 ;;
  *) echo "LANDMARKS_PRECISION is float32 or int8, not '$LANDMARKS_PRECISION'" >&2; exit 1 ;;
esac
exec python3 -I "$(dirname "$0")/watchdog.py" -- tritonserver "$@"
