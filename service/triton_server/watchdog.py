"""Runs one server and makes sure that nothing of it outlives the process that wanted it, nor itself half-dead.

A small program of its own, started by `service.triton_server.process`: it ends the server when its standard input
closes, which the operating system sees to even when the parent is killed. It then removes the server's folder and
shared memory. When a process of the server's own dies, as a model's may, it ends the server: Triton 2.51 would stay
ready, and answer every request with an error. It looks for that once it has been told, by any input, that the server
serves: one that cannot start says why, and ends by itself.
Standard library only, and nothing of this package: it must start fast and never fail.

Usage: watchdog.py GRACE_SECONDS FOLDER -- COMMAND...; shared memory to remove is named after the folder.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Returns the server's exit status, 128 and the signal's number when one ended it."""
    grace, folder, _, *command = arguments
    # the parent decides when to stop: a signal sent to the whole session must not cut off requests in flight
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should this very process be killed

    try:
        # safe here: this process has a single thread as yet
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=in_child)  # noqa: S603
        serving, stopping = threading.Event(), threading.Event()
        threading.Thread(target=end_after_input, args=(server, float(grace), serving, stopping), daemon=True).start()
        threading.Thread(target=end_when_crippled, args=(server.pid, serving, stopping), daemon=True).start()
        status = server.wait()
        end_group(server.pid)
    finally:
        remove_files(Path(folder))
    return status if status >= 0 else 128 - status


def end_after_input(
    server: "subprocess.Popen[bytes]", grace: float, serving: threading.Event, stopping: threading.Event
) -> None:
    """Waits for the end of standard input, then ends the server: politely, and after `grace` seconds by force."""
    while os.read(0, 1024):  # not sys.stdin: its lock, held by this thread, would abort Python's exit
        serving.set()
    stopping.set()
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        end_group(server.pid)


def end_when_crippled(pid: int, serving: threading.Event, stopping: threading.Event) -> None:
    """Kills the server once a process of its own has died, unless it is being stopped anyway."""
    serving.wait()
    while not stopping.is_set():
        if has_dead_child(pid):
            print("E guard: a process of a model has died, so Triton is ended too", flush=True)  # noqa: T201
            end_group(pid)
        time.sleep(CHECK_SECONDS)


def has_dead_child(pid: int) -> bool:
    """Whether a child of this process has ended and waits to be noticed."""
    children = [Path("/proc", child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in read(task)]
    return any(read(child / "stat", after=")")[:1] == ["Z"] for child in children)


def read(path: Path, after: str = "") -> "list[str]":
    """The words of a file of /proc behind the last `after`; none when what it tells of is gone."""
    try:
        text = path.read_text()
    except OSError:
        return []
    return (text.rpartition(after)[2] if after else text).split()


def end_group(group: int) -> None:
    """Kills what is left of a process group: Python-backend stubs whose server died without stopping them."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def remove_files(folder: Path) -> None:
    """Removes a server's folder and the shared memory named after it, as far as they are still there."""
    shutil.rmtree(folder, ignore_errors=True)
    for leftover in Path("/dev/shm").glob(f"{folder.name}*"):  # noqa: S108
        leftover.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
