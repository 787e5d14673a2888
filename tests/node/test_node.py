"""A client in another language, which shares only the schema with the service."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from landmarks.golden import golden_crop
from landmarks_client import Client
from tests.e2e.test_gateway import BOX, served
from tests.fakes import encoded

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    if not (HERE / "node_modules" / "@grpc" / "grpc-js").is_dir():
        command = [npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=0"]
        ended = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=280, check=False)
        if ended.returncode != 0:
            pytest.skip(f"npm could not fetch @grpc/grpc-js: {ended.stderr.strip()[:200]}")
    return node


@pytest.fixture(scope="module")
def address(node: str, triton_url: str) -> Iterator[str]:
    with served(triton_url=triton_url) as running:
        running.read_announcement()
        yield f"127.0.0.1:{running.rpc}"


def ask(node: str, *arguments: object) -> tuple[int, dict]:
    command = [node, str(HERE / "client.js"), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_node_and_python_receive_the_same_answer(node: str, address: str, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(encoded(golden_crop()))
    status, answer = ask(node, address, image, ",".join(map(str, BOX)))
    assert (status, answer["request_id"]) == (0, "from-node")
    assert answer["image"] == {"width": 256, "height": 256}
    (face,) = answer["faces"]
    assert (face["box"], face["box_source"], len(face["points"])) == (list(BOX), "given", 196)
    with Client(f"grpc://{address}") as client:
        (ours,) = client.landmarks(image, boxes=[BOX]).faces
    np.testing.assert_array_equal(np.float32(face["points"]).reshape(98, 2), ours.points)
    np.testing.assert_array_equal(np.float32(face["covariances"]).reshape(98, 3), ours.covariances)


def test_node_reads_the_code_of_an_error(node: str, address: str, tmp_path: Path) -> None:
    image = tmp_path / "image.jpg"
    image.write_bytes(b"hello")
    status, answer = ask(node, address, image)
    assert (status, answer["code"], answer["status"]) == (1, "not_an_image", 3)
    assert answer["detail"].startswith("these bytes are not an image")
