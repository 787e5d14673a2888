"""What is left of a picture after its answer, and whom the service talks to. Real processes."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.crop import Crop, warp
from landmarks.golden import golden_crop
from landmarks.size import Size
from service.triton_server.folder import SHARED_MEMORY
from service.triton_server.process import free_ports
from tests.conftest import ROOT
from tests.fakes import encoded

pytestmark = pytest.mark.usefixtures("needs_triton")

BOX = (60.0, 22.0, 199.0, 211.0)
PIECE = 24
"""Bytes in a row that are looked for: noise, so that they are found nowhere by chance."""


def noisy_portrait() -> NDArray[np.uint8]:
    """The golden face, with noise in the lowest bits of every pixel: RGB [256, 256, 3]."""
    noise = np.random.default_rng(4).integers(0, 16, (256, 256, 3), np.uint8)
    return np.asarray((golden_crop() & 0xF0) | noise, np.uint8)


def pieces(picture: NDArray[np.uint8], file: bytes) -> dict[str, list[bytes]]:
    """Parts of the file, of its pixels and of the crop that the network sees."""
    crop = warp(picture, Crop.around(BOX, 1.25, Size.square(256)).image_to_crop(), Size.square(256))
    rows = range(40, 220, 20)
    return {
        "file": [file[at : at + PIECE] for at in range(200, len(file) - PIECE, len(file) // 20)],
        "pixels": [picture[row].tobytes()[120 : 120 + PIECE] for row in rows],
        "crop": [crop[row].tobytes()[300 : 300 + PIECE] for row in rows],
    }


def found_in(content: bytes, wanted: dict[str, list[bytes]]) -> set[str]:
    return {name for name, parts in wanted.items() if any(part in content for part in parts)}


@contextmanager
def private_service(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`landmarks serve` whose home, current and temporary folders are in `folder`; its log is there too."""
    rest, rpc = free_ports(2)
    for name in ("home", "work", "temp"):
        (folder / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANDMARKS_", "XDG_"))}
    settings = {
        "HOME": folder / "home",
        "TMPDIR": folder / "temp",
        "PYTHONPATH": ROOT,
        "LANDMARKS_PORT": rest,
        "LANDMARKS_GRPC_PORT": rpc,
        "LANDMARKS_MODEL_REPOSITORY": ROOT / "model_repo",
        "LANDMARKS_LOG_LEVEL": "debug",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve"],
            cwd=folder / "work",
            env=kept | {name: str(value) for name, value in settings.items()},
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if b"curl" in line:
                    break
            else:
                raise AssertionError((folder / "log").read_text())
            yield process, rest
        finally:
            process.terminate()
            process.communicate(timeout=120)


def ask(port: int, body: bytes, box: tuple[float, ...] | None = None) -> int:
    """The number of faces answered."""
    query = "?refine=never" + ("" if box is None else "&box=" + ",".join(map(str, box)))
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
        connection.request("POST", f"/v1/landmarks{query}", body, {"Content-Type": "image/png"})
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return len(json.loads(content)["faces"])


def test_no_byte_of_a_picture_is_left_in_files_shared_memory_or_the_log(tmp_path: Path) -> None:
    picture = noisy_portrait()
    file = encoded(picture)
    wanted = pieces(picture, file)
    with private_service(tmp_path) as (process, port):
        assert ask(port, file) == 1  # searched by the detector, which gets all of it
        assert ask(port, file, BOX) == 1
        regions = [region for prefix in prefixes(process.pid) for region in SHARED_MEMORY.glob(f"{prefix}?*")]
        left = {str(path): found_in(path.read_bytes(), wanted) for path in regions}
        assert len(left) == 3
        assert not any(left.values()), left
        limits = [Path(f"/proc/{pid}/limits").read_text() for pid in descendants(process.pid)]
        cores = [line.split()[4:6] for text in limits for line in text.splitlines() if line.startswith("Max core")]
        assert cores == [["0", "0"]] * len(limits)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["log"]
    assert found_in((tmp_path / "log").read_bytes(), wanted) == set()
    assert (tmp_path / "log").stat().st_size > 1000


def test_the_search_finds_each_kind_of_piece() -> None:
    picture = noisy_portrait()
    file = encoded(picture)
    wanted = pieces(picture, file)
    crop = warp(picture, Crop.around(BOX, 1.25, Size.square(256)).image_to_crop(), Size.square(256))
    for name, content in (("file", file), ("pixels", picture.tobytes()), ("crop", crop.tobytes())):
        assert found_in(b"before" + content + b"after", wanted) == {name}
        assert len(set(wanted[name])) == len(wanted[name])


def descendants(pid: int) -> list[int]:
    """A process and those that it has started."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(each for path in children for child in path.read_text().split() for each in descendants(int(child)))]


def prefixes(pid: int) -> set[str]:
    """The names of the Tritons' folders."""
    words = [word for child in descendants(pid) for word in Path(f"/proc/{child}/cmdline").read_text().split("\0")]
    return {Path(word.partition("=")[2]).name for word in words if word.startswith("--remove=")}


INSIDE = """
import fcntl, json, os, socket, struct, subprocess, sys
from pathlib import Path
from tests.e2e import test_privacy as tests

def attempts():
    "Packets that this network namespace, which has a loopback only, had no way to send."
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    ip6 = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(*lines))["OutNoRoutes"]) + int(ip6["Ip6OutNoRoutes"])

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: UP, RUNNING
folder = Path(sys.argv[1])
(folder / "resolv.conf").write_text("nameserver 192.0.2.1\\n")
subprocess.run(["mount", "--bind", folder / "resolv.conf", "/etc/resolv.conf"], check=True)
before = attempts()
with tests.private_service(folder) as (process, port):
    faces = tests.ask(port, tests.encoded(tests.golden_crop()))
during = attempts() - before
for name in ("192.0.2.7", "example.com"):
    try:
        socket.create_connection((name, 443), timeout=20)
    except OSError:
        pass
print(json.dumps({"faces": faces, "attempts": during, "noticed": attempts() - before - during}))
"""


def test_the_service_talks_to_nobody_but_itself(tmp_path: Path) -> None:
    """In a network that consists of the loopback: what it tried to send elsewhere is counted by the kernel."""
    isolated = ["unshare", "--map-root-user", "--net", "--mount"]
    possible = subprocess.run(
        [*isolated, "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True, check=False
    )
    if possible.returncode != 0:
        pytest.skip(f"no namespaces on this machine: {possible.stderr.decode()}")
    names = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    done = subprocess.run(
        [*isolated, sys.executable, "-c", INSIDE, str(tmp_path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in names},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["noticed"] >= 2  # otherwise the count would mean nothing
    assert (seen["faces"], seen["attempts"]) == (1, 0)
