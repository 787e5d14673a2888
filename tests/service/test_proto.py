import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from landmarks_client.pb import landmarks_pb2
from tests.conftest import ROOT


def test_the_generated_code_is_of_this_schema(tmp_path: Path) -> None:
    """With any compiler: what is compared is the schema that the generated code carries, not its text."""
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")
    out = tmp_path / "schema"
    command = [
        "protoc",
        f"--proto_path={ROOT / 'proto'}",
        f"--descriptor_set_out={out}",
        "landmarks/v1/landmarks.proto",
    ]
    assert protoc.main(command) == 0
    (schema,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    for message in schema.message_type:
        # an entry of a map is a message within its own
        for part in (message, *message.nested_type):
            for field in part.field:
                field.ClearField("json_name")
    carried = descriptor_pb2.FileDescriptorProto()
    landmarks_pb2.DESCRIPTOR.CopyToProto(carried)
    assert carried == schema, "run proto/generate.sh"


def test_the_generated_code_runs_with_every_protobuf_that_is_allowed() -> None:
    """Later compilers write a check that ties the code to one major version of the runtime."""
    assert "ValidateProtobufRuntimeVersion" not in Path(landmarks_pb2.__file__).read_text()


def test_buf_finds_nothing_in_the_schema_to_complain_of() -> None:
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("npm is not installed, which carries buf")
    command = [npx, "--yes", "@bufbuild/buf@1.75.0", "lint", str(ROOT / "proto")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if "npm error" in ended.stderr:
        pytest.skip(f"npm could not fetch buf: {ended.stderr.strip()[:200]}")
    assert (ended.returncode, ended.stdout) == (0, "")
