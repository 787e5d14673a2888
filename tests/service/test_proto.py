import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from landmarks_client.pb import landmarks_pb2
from landmarks_client.pb.comments import COMMENTS
from tests.conftest import ROOT


def compiled(out: Path, *arguments: str) -> Path:
    """The schema as a descriptor set, by whichever compiler is installed."""
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")
    files = (f"--proto_path={ROOT / 'proto'}", f"--descriptor_set_out={out}", "landmarks/v1/landmarks.proto")
    assert protoc.main(["protoc", *arguments, *files]) == 0
    return out


def test_the_generated_code_is_of_this_schema(tmp_path: Path) -> None:
    """With any compiler: what is compared is the schema that the generated code carries, not its text."""
    out = compiled(tmp_path / "schema")
    (schema,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    for message in schema.message_type:
        # an entry of a map is a message within its own
        for part in (message, *message.nested_type):
            for field in part.field:
                field.ClearField("json_name")
    carried = descriptor_pb2.FileDescriptorProto()
    landmarks_pb2.DESCRIPTOR.CopyToProto(carried)
    assert carried == schema, "run proto/generate.sh"


def test_the_generated_options_and_comments_are_of_this_schema(tmp_path: Path) -> None:
    schema = compiled(tmp_path / "schema", "--include_source_info")
    (tmp_path / "pb").mkdir()
    subprocess.run([sys.executable, ROOT / "proto" / "write_comments.py", schema, tmp_path], check=True)
    for name in ("options.py", "pb/comments.py"):
        assert (ROOT / "landmarks_client" / name).read_text() == (tmp_path / name).read_text(), "run make proto"


def test_every_field_of_the_schema_has_a_comment() -> None:
    uncommented = {
        f"{message.name}.{field.name}"
        for message in landmarks_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
    } - set(COMMENTS)
    assert uncommented == {"Box.x1", "Box.y1", "Box.x2", "Box.y2"}  # the message says it for all four


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
