#!/bin/sh
# The entry point of the images with Triton: start_triton.sh [OPTION OF tritonserver...]
#
# LANDMARKS_PRECISION=int8 in the environment selects the 8-bit network, which is for CPUs. LANDMARKS_TLS_CERTIFICATE and
# LANDMARKS_TLS_KEY, files in the container, make its gRPC API speak TLS; with LANDMARKS_TLS_CLIENT_CA it requires gateways to
# have a certificate of that authority. LANDMARKS_HUNG_AFTER are the seconds (30) without an answer of a model after which the
# server is ended, so that the container is started again.
#
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
if [ -n "${LANDMARKS_TLS_CERTIFICATE:-}" ]; then
  set -- "$@" --grpc-use-ssl=true "--grpc-server-cert=$LANDMARKS_TLS_CERTIFICATE" "--grpc-server-key=${LANDMARKS_TLS_KEY:-}"
fi
if [ -n "${LANDMARKS_TLS_CLIENT_CA:-}" ]; then
  set -- "$@" --grpc-use-ssl-mutual=true "--grpc-root-cert=$LANDMARKS_TLS_CLIENT_CA"
fi
folder=$(dirname "$0")
exec python3 -I "$folder/watchdog.py" --check="$folder/triton_answers.py" --hung-after="${LANDMARKS_HUNG_AFTER:-30}" -- \
  tritonserver "$@"
