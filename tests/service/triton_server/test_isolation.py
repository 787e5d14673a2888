"""What another user of the machine can do to an embedded Triton: nothing. The tests run a process as `nobody`."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from landmarks.golden import golden_crop
from service.engines.triton.engine import TritonEngine
from service.triton_server.folder import regions
from service.triton_server.process import EmbeddedTriton

pytestmark = [pytest.mark.usefixtures("needs_triton")]


@pytest.fixture(scope="module")
def triton(needs_triton: None, model_repository: Path) -> Iterator[tuple[EmbeddedTriton, str]]:
    """As the gateway starts it, and its address."""
    server = EmbeddedTriton(model_repository)
    yield server, asyncio.run(server.start())
    asyncio.run(server.stop())


def as_nobody(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of the standard library as the user nobody."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a process as another user")
    nobody = pwd.getpwnam("nobody")
    command = [sys.executable, "-I", "-S", "-c", BECOME.format(uid=nobody.pw_uid, gid=nobody.pw_gid) + script]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)


BECOME = """
import os, socket, sys
from pathlib import Path
os.setgroups([]); os.setgid({gid}); os.setuid({uid})
def refused(act):
    try:
        act()
    except PermissionError:
        return
    sys.exit("it was possible")
"""


def test_another_user_can_open_neither_regions_nor_the_socket(triton: tuple[EmbeddedTriton, str]) -> None:
    server, address = triton
    assert server.folder is not None
    found = regions(server.folder)
    assert len(found) == 3
    for script, arguments in (
        ("for name in sys.argv[1:]: refused(lambda: open(name, 'rb'))", found),
        ("refused(lambda: os.listdir(sys.argv[1]))", [server.folder]),
        ("refused(lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1]))", [address.removeprefix("unix:")]),
    ):
        done = as_nobody(script, *map(str, arguments))
        assert done.returncode == 0, done.stderr


def test_regions_are_closed_to_others_from_the_moment_they_exist(triton: tuple[EmbeddedTriton, str]) -> None:
    """Not corrected afterwards: Triton itself, whose mode of a region is 0644 whatever the umask, created them so."""
    server, _ = triton
    assert server.folder is not None
    for path in regions(server.folder):
        status = path.stat()
        assert status.st_mode & 0o777 == 0o600
        # what is written into a region changes the times of its contents only
        assert status.st_ctime_ns <= status.st_mtime_ns


def test_it_listens_on_no_port(triton: tuple[EmbeddedTriton, str]) -> None:
    server, address = triton
    assert server.metrics_url == ""
    assert address.startswith("unix:/dev/shm/")
    assert not listening_ports(server_pids(server))


def server_pids(server: EmbeddedTriton) -> list[int]:
    assert server.folder is not None
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if server.folder.name in text(path)]


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def listening_ports(pids: list[int]) -> set[int]:
    """The TCP ports on which these processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(descriptor.readlink()))
    rows = [line.split() for name in ("tcp", "tcp6") for line in text(Path(f"/proc/net/{name}")).splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def test_the_check_of_ports_finds_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in listening_ports([os.getpid()])


ADMINISTRATIVE = {
    "shared memory: register": lambda client: client.register_system_shared_memory("mine", "/region", 64),
    "shared memory: status": lambda client: client.get_system_shared_memory_status(),
    "shared memory: unregister": lambda client: client.unregister_system_shared_memory(),
    "shared memory: GPU": lambda client: client.get_cuda_shared_memory_status(),
    "repository: index": lambda client: client.get_model_repository_index(),
    "repository: load": lambda client: client.load_model("decode"),
    "repository: unload": lambda client: client.unload_model("decode"),
    "statistics": lambda client: client.get_inference_statistics(),
    "trace": lambda client: client.get_trace_settings(),
    "trace: set": lambda client: client.update_trace_settings(settings={"trace_file": "/tmp/mine"}),
    "logging": lambda client: client.get_log_settings(),
    "logging: set": lambda client: client.update_log_settings({"log_file": "/tmp/mine"}),
}
"""What Triton's gRPC API offers beside health, inference, configurations and metadata."""


@pytest.mark.parametrize("call", ADMINISTRATIVE)
def test_administrative_calls_are_refused_even_to_its_own_user(triton: tuple[EmbeddedTriton, str], call: str) -> None:
    with triton_grpc.InferenceServerClient(triton[1]) as client, pytest.raises(InferenceServerException) as caught:
        ADMINISTRATIVE[call](client)
    assert "restricted" in str(caught.value)


@pytest.mark.parametrize("name", [b"triton-grpc-protocol-Nobody", b"triton-grpc-protocol-nobody"])
def test_the_header_that_would_allow_them_cannot_be_sent(triton: tuple[EmbeddedTriton, str], name: bytes) -> None:
    """Frames of HTTP/2 by hand, because no library sends such a name."""
    answer = exchange(triton[1].removeprefix("unix:"), b"SystemSharedMemoryStatus", {name: b"no"})
    assert b"grpc-status" in answer
    assert b"restricted" in answer or b"Missing :method header" in answer
    # the call itself is right: without a restriction of its kind it is answered
    assert b"grpc-status\x010" in exchange(triton[1].removeprefix("unix:"), b"ServerReady", {})


def exchange(path: str, method: bytes, headers: dict[bytes, bytes]) -> bytes:
    """What Triton sends until it has answered a call that has an empty message (RFC 9113, RFC 7541)."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/inference.GRPCInferenceService/" + method,
        b":authority": b"localhost",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    } | headers
    block = b"".join(literal(*field) for field in fields.items())
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        client.sendall(frame(1, 4, 1, block) + frame(0, 1, 1, bytes(5)))
        received = b""
        while b"grpc-status" not in received or (b"\x010" not in received and b"header" not in received):
            more = client.recv(65536)
            if not more:
                break
            received += more
    return received


@pytest.mark.anyio
async def test_administrative_calls_are_refused_on_a_port_too(shared_triton: tuple[str, str]) -> None:
    url, _ = shared_triton
    with triton_grpc.InferenceServerClient(url) as client:
        for call in ADMINISTRATIVE.values():
            with pytest.raises(InferenceServerException, match="restricted"):
                call(client)


@pytest.mark.anyio
async def test_the_gateways_own_calls_are_answered(triton: tuple[EmbeddedTriton, str]) -> None:
    engine = TritonEngine(triton[1])
    try:
        await engine.start()
        decoded = await engine.infer(golden_crop()[None])
        assert np.isfinite(decoded.points).all()
    finally:
        await engine.close()
