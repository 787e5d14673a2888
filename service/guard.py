"""Runs one server and makes sure that nothing of it outlives the process that wanted it.

A small program of its own, started by `service.embedded`: it ends the server when its standard input closes, which
the operating system sees to even when the parent is killed. It then removes the server's folder and shared memory.
Standard library only, and nothing of this package: it must start fast and never fail.

Usage: guard.py GRACE_SECONDS FOLDER -- COMMAND...; shared memory to remove is named after the folder.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


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
        threading.Thread(target=end_after_input, args=(server, float(grace)), daemon=True).start()
        status = server.wait()
        end_group(server.pid)
    finally:
        remove_files(Path(folder))
    return status if status >= 0 else 128 - status


def end_after_input(server: "subprocess.Popen[bytes]", grace: float) -> None:
    """Waits for the end of standard input, then ends the server: politely, and after `grace` seconds by force."""
    while os.read(0, 1024):  # not sys.stdin: its lock, held by this thread, would abort Python's exit
        pass
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        end_group(server.pid)


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
