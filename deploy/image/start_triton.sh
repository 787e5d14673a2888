#!/bin/sh
# The entry point of the images with Triton: start_triton.sh [OPTION OF tritonserver...]
#
# LANDMARKS_PRECISION=int8 in the environment selects the 8-bit network, which is for CPUs.
# What the gateway and the health check do not need is closed: to everybody over gRPC (RESTRICTED in
# service/triton_server/process.py says how), and over HTTP, which only this container can reach, to whoever does not know a
# number drawn now.
set -eu
number=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
set -- "--grpc-restricted-protocol=shared-memory,model-repository,statistics,trace,logging:Nobody=no" \
  "--http-restricted-api=shared-memory,model-repository,trace,logging:number=$number" "$@"
case "${LANDMARKS_PRECISION:-}" in
  "" | float32) ;;
  int8) set -- "$@" --model-config-name=int8 ;;
  *) echo "LANDMARKS_PRECISION is float32 or int8, not '$LANDMARKS_PRECISION'" >&2; exit 1 ;;
esac
exec python3 -I "$(dirname "$0")/watchdog.py" -- tritonserver "$@"
