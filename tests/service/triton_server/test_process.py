"""Real processes. What must be gone afterwards is looked up in /proc and /dev/shm."""

import asyncio
import errno
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from landmarks.parallelism import STREAMS_VARIABLE
from service.triton_server import folder as folder_module
from service.triton_server import process as embedded
from service.triton_server.folder import SHARED_MEMORY, regions
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError, free_ports

pytestmark = [pytest.mark.usefixtures("needs_triton"), pytest.mark.anyio]


def processes(folder: Path) -> dict[str, list[int]]:
    """Program -> ids of the running processes whose command line names the folder or a region of its Triton."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text().split("\0")
            if any(folder.name in word for word in words):
                name = "watchdog" if any(word.endswith("watchdog.py") for word in words) else Path(words[0]).name
                found.setdefault(name, []).append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            pass  # ended meanwhile
    return found


def left(folder: Path) -> list[Path]:
    """The folder and its regions, as far as they exist."""
    return list(SHARED_MEMORY.glob(f"{folder.name}*"))


def listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address.removeprefix("unix:")) == 0


def folder_of(triton: EmbeddedTriton) -> Path:
    assert triton.folder is not None
    return triton.folder


def wait_for_end(pids: list[int], act: "tuple[int, int] | None" = None) -> None:
    """Optionally sends a signal (pid, number), then waits until all the processes have ended."""
    handles = [os.pidfd_open(pid) for pid in pids]
    if act:
        os.kill(*act)
    for handle in handles:
        assert select.select([handle], [], [], 60)[0], "a process is still running"
        os.close(handle)


STUB = "triton_python_backend_stub"


async def test_stopping_leaves_nothing_behind(model_repository: Path) -> None:
    triton = EmbeddedTriton(model_repository, free=64 << 20)  # what /dev/shm has in a container by default
    url = await triton.start()
    folder = folder_of(triton)
    running = processes(folder)
    assert {name: len(pids) for name, pids in running.items()} == {"watchdog": 1, "tritonserver": 1, STUB: 3}
    # the terminal's Ctrl-C goes to the foreground group of its session
    assert all(os.getsid(pid) != os.getsid(0) for pids in running.values() for pid in pids)
    assert listens(url)
    assert sum(path.stat().st_size for path in regions(folder)) < 64 << 20
    await asyncio.gather(triton.stop(), triton.stop())
    await triton.stop()
    assert not left(folder)
    assert not processes(folder)
    assert not listens(url)


PARENT = """
import asyncio, sys
from pathlib import Path
from service.triton_server.process import EmbeddedTriton

async def main():
    triton = EmbeddedTriton(Path(sys.argv[1]))
    print(await triton.start(), triton.folder, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_parent_that_is_killed_leaves_nothing_behind(model_repository: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(model_repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            url, name = parent.stdout.readline().split()
            assert listens(url)
            folder = Path(name)
            running = [pid for pids in processes(folder).values() for pid in pids]
            assert len(running) == 5
            wait_for_end(running, (parent.pid, signal.SIGKILL))
        finally:
            parent.kill()
    assert not left(folder)
    assert not listens(url)


@pytest.mark.parametrize("victim", ["watchdog", "tritonserver"])
async def test_a_server_that_dies_takes_its_stubs_with_it_and_is_noticed(model_repository: Path, victim: str) -> None:
    triton = EmbeddedTriton(model_repository)
    await triton.start()
    folder = folder_of(triton)
    running = processes(folder)
    pids = [pid for group in running.values() for pid in group]
    await asyncio.to_thread(wait_for_end, pids, (running[victim][0], signal.SIGKILL))
    status = await triton.wait()
    await triton.stop()
    assert status == {"watchdog": -9, "tritonserver": 137}[victim]
    assert not left(folder)


async def test_a_broken_repository_says_why(repository_copy: Path) -> None:
    (repository_copy / "decode/config.pbtxt").write_text("no configuration {")
    triton = EmbeddedTriton(repository_copy)
    with pytest.raises(EmbeddedTritonError, match="instead of starting") as caught:
        await triton.start()
    assert "decode" in str(caught.value)
    assert not left(folder_of(triton))
    assert not processes(folder_of(triton))


async def test_the_network_of_triton_is_told_its_threads(model_repository: Path) -> None:
    """Its variables reach it: with one that is no number it does not load."""
    triton = EmbeddedTriton(model_repository, variables={STREAMS_VARIABLE: "many"})
    with pytest.raises(EmbeddedTritonError, match="LANDMARKS_NETWORK_STREAMS must be a whole number, not 'many'"):
        await triton.start()


async def test_a_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedTritonError, match="no model repository"):
        await EmbeddedTriton(tmp_path / "nothing").start()


async def test_a_start_timeout_stops_the_server(model_repository: Path) -> None:
    triton = EmbeddedTriton(model_repository, start_timeout=0.01)
    with pytest.raises(EmbeddedTritonError, match=r"not ready after 0\.01 s"):
        await triton.start()
    assert not left(folder_of(triton))
    assert not processes(folder_of(triton))


async def test_stopping_a_server_that_never_started(model_repository: Path) -> None:
    await EmbeddedTriton(model_repository).stop()


async def test_without_the_wheel(monkeypatch: pytest.MonkeyPatch, model_repository: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedTritonError, match=r"needs the wheel nvidia-pytriton .*h3r-landmarks\[serve\]"):
        await EmbeddedTriton(model_repository).start()


async def test_without_libpython(monkeypatch: pytest.MonkeyPatch, model_repository: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "library_folders", lambda: [tmp_path])
    minor = sys.version_info[1]
    with pytest.raises(EmbeddedTritonError, match=rf"apt-get install libpython3\.{minor}\)"):
        await EmbeddedTriton(model_repository).start()


async def test_with_a_python_that_has_no_stub(monkeypatch: pytest.MonkeyPatch, model_repository: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    with pytest.raises(EmbeddedTritonError, match=r"Python 3\.10 to 3\.12, not 3\.14"):
        await EmbeddedTriton(model_repository).start()


async def test_a_machine_that_is_out_of_files(monkeypatch: pytest.MonkeyPatch, model_repository: Path) -> None:
    def none_left() -> tuple[Path, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(folder_module, "create", none_left)
    with pytest.raises(EmbeddedTritonError, match=r"cannot be started: .*Too many open files"):
        await EmbeddedTriton(model_repository).start()


def test_free_ports_differ_and_are_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
