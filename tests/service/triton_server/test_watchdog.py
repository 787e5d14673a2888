"""The watchdog with small servers of its own, as `service.triton_server.process` and as the images start it."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.triton_server import watchdog

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

DEAD_CHILD = (
    "import subprocess, time; child = subprocess.Popen(['true']); print('started', flush=True); time.sleep(600)"
)
"""A server that starts a process which exits at once and, like Triton, never reads its exit status."""
MESSAGE = "E watchdog: a model's process has died, so Triton is killed\n"


@contextmanager
def watched(script: str, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """The script as a server under the watchdog. Its pipe is what the parent of an embedded Triton holds."""
    command = [sys.executable, "-I", watchdog.__file__, *options, "--", sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # and with it the server


@pytest.mark.parametrize("options", [(), ("--parent-pipe=5",)])
@pytest.mark.parametrize(("end", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_the_exit_status_of_the_server_is_passed_on(options: tuple[str, ...], end: str, status: int) -> None:
    with watched(f"import os, sys; {end}", *options) as process:
        assert process.wait(60) == status


def test_a_dead_model_process_ends_the_server() -> None:
    with watched(DEAD_CHILD) as process:
        assert process.wait(60) == watchdog.BACKEND_DIED == 70
        assert process.stderr is not None
        assert process.stderr.read() == MESSAGE


def test_with_a_parent_dead_processes_are_looked_for_once_it_says_that_the_server_is_ready() -> None:
    with watched(DEAD_CHILD, "--parent-pipe=5") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2 * watchdog.CHECK_INTERVAL)
        process.stdin.write("ready\n")
        process.stdin.flush()
        assert process.wait(60) == 70
        assert process.stderr is not None
        assert process.stderr.read() == MESSAGE


STOPPING = """
import signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
def stop(*_):
    child.kill(); print("stopping", flush=True); time.sleep(2); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
print("ready", flush=True); time.sleep(600)
"""
"""A server whose model process exits, on a stop, two looks of the watchdog before the server itself."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_forwarded_and_model_processes_may_end_before_the_server(number: int) -> None:
    with watched(STOPPING) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stdout.read() == "stopping\n"


def test_with_a_parent_signals_are_ignored_and_the_end_of_its_pipe_stops_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "landmarks-watchdog-test"
    folder.mkdir()
    shared = tmp_path / f"{folder.name}-region"
    shared.touch()
    with watched(STOPPING, "--parent-pipe=5", f"--remove={folder}") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("ready\n")
        process.stdin.flush()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stdout.read() == "stopping\n"
    assert not folder.exists()
    assert not shared.exists()


def test_a_server_that_does_not_stop_is_killed_after_the_grace_period() -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    with watched(script, "--parent-pipe=0.1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(60) == 137


def test_a_child_that_has_died_unnoticed_is_found() -> None:
    """The shell becomes a program that, like Triton, never reads the exit status of its children."""
    with subprocess.Popen(["sh", "-c", "sleep 0 & exec sleep 60"]) as parent:
        end = time.monotonic() + 60
        while not watchdog.dead_children(parent.pid):
            assert time.monotonic() < end
        parent.kill()
    with subprocess.Popen(["sleep", "60"]) as parent:
        assert not watchdog.dead_children(parent.pid)
        parent.kill()
    assert not watchdog.dead_children(parent.pid)
