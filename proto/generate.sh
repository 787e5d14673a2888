#!/bin/sh
# Regenerates landmarks_client/pb and landmarks_client/options.py from the schema: proto/generate.sh
#
# The compiler is pinned to the last release whose Python output does not insist on one major version of the protobuf
# runtime: what it writes runs with protobuf 5, 6 and 7 alike. tests/service/test_proto.py compares the result with the
# schema, whichever compiler is installed.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet "grpcio-tools==1.65.5" "setuptools<81"
"$tools/bin/python" -m grpc_tools.protoc --proto_path=proto \
    --python_out="$tools" --pyi_out="$tools" --grpc_python_out="$tools" \
    --include_source_info --descriptor_set_out="$tools/schema" landmarks/v1/landmarks.proto
for file in landmarks_pb2.py landmarks_pb2.pyi landmarks_pb2_grpc.py; do
    # on the Python side `landmarks` is the shared library, and the client is installed without the gateway: so the
    # generated code belongs to the client, and the gateway takes it from there
    sed "s/^from landmarks\.v1 import/from landmarks_client.pb import/" "$tools/landmarks/v1/$file" >"landmarks_client/pb/$file"
done
"$tools/bin/python" proto/write_comments.py "$tools/schema" landmarks_client
