"""Runs a tritonserver, and stops it completely: no process or file of it stays behind, and it never runs half-dead.

A program of its own, `python -I watchdog.py [OPTIONS] -- COMMAND...`, which `service.triton_server.process` and the
container images start. It uses the standard library only and nothing of this package: it must start fast, and run from
a copy.

- Triton 2.51 does not notice when the process of one of its Python models dies: it stays ready, and answers every
  request with an error. The watchdog then kills the server and exits with status 70.
- With `--check PROGRAM`, that Python program, which succeeds while the models answer, is run three times in
  `--hung-after SECONDS`. A server whose models have not answered for so long, since it listens, is killed likewise: it
  does not notice either when the process of a model hangs. The program ends with status 2 while the server does not
  listen yet. (The gateway of an embedded Triton checks that by itself.)
- SIGINT and SIGTERM are forwarded to the server, as an image's entry point has to.
- With `--parent-pipe GRACE_SECONDS`, the server is stopped when standard input closes instead, which the operating
  system sees to even when the parent process is killed; signals are ignored. Dead processes are looked for once the
  parent has written something, that is, once the server is ready: one that cannot start says why, and exits by itself.
- With `--remove FOLDER`, that folder is removed at the end, and the shared memory beside it that is named after it.
- The server writes no core dump, and no other user can read its regions of shared memory, which hold images.
"""

import argparse
import ctypes
import os
import platform
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BACKEND_DIED = 70
"""The exit status after a model's process has died or hung: EX_SOFTWARE of sysexits.h."""
NOT_LISTENING = 2
"""The exit status of the program of `--check` while the server loads its models."""
CHECK_INTERVAL = 1.0
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38


def main(arguments: "list[str]") -> int:
    """Returns the server's exit status, 128 + n when signal n ended it, or BACKEND_DIED."""
    options = parse(arguments)
    ready, stopping, backend_died = threading.Event(), threading.Event(), threading.Event()
    try:
        if options.parent_pipe is not None:
            ignore_signals()
        server = start(options.command)
        if options.parent_pipe is None:
            forward_signals(server, stopping)
            ready.set()
        else:
            run_in_thread(stop_at_end_of_input, server, options.parent_pipe, ready, stopping)
        run_in_thread(kill_when_backend_dies, server.pid, ready, stopping, backend_died)
        if options.check is not None:
            run_in_thread(kill_when_hung, server.pid, options.check, options.hung_after, stopping, backend_died)
        status = server.wait()
        kill_group(server.pid)
    finally:
        if options.remove is not None:
            remove_files(options.remove)
    if backend_died.is_set():
        return BACKEND_DIED
    return status if status >= 0 else 128 - status


def parse(arguments: "list[str]") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="watchdog.py", allow_abbrev=False)
    parser.add_argument("--parent-pipe", type=float, metavar="GRACE_SECONDS")
    parser.add_argument("--check", metavar="PROGRAM")
    parser.add_argument("--hung-after", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--remove", type=Path, metavar="FOLDER")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def start(command: "list[str]") -> "subprocess.Popen[bytes]":
    """The server in a process group of its own; it is killed should this very process be killed."""
    libc = ctypes.CDLL(None)
    ignore_fchmod = filter_that_ignores_fchmod()

    def in_child() -> None:
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.umask(0o077)
        if ignore_fchmod is not None:
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            libc.prctl(PR_SET_SECCOMP, 2, ignore_fchmod)

    # preexec_fn is safe here: this process has a single thread as yet
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=in_child)  # noqa: S603


def filter_that_ignores_fchmod() -> "ctypes.Array[ctypes.c_char] | None":
    """A program for seccomp under which the system call fchmod succeeds without doing anything; None off x86-64.

    Triton's Python backend creates its regions by Boost, which makes every file readable for all users by fchmod,
    whatever the umask. To correct that afterwards would leave a moment in which another user could open the file.
    """
    if platform.machine() != "x86_64":
        return None
    # instructions of classic BPF, each with: code, jump if true, jump if false, value
    instructions = [
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 0, 3, 0xC000003E),  # unless it is x86-64: allow
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, 91),  # unless it is fchmod: allow
        (0x06, 0, 0, 0x00050000),  # return 0 to the caller
        (0x06, 0, 0, 0x7FFF0000),  # allow
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    header = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code))
    program = ctypes.create_string_buffer(header)
    program.code = code  # type: ignore[attr-defined]  # kept as long as what points to it
    return program


def run_in_thread(target: "Callable[..., None]", *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


def ignore_signals() -> None:
    """A signal to the whole session must not cut off requests in flight: the parent decides when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def forward_signals(server: "subprocess.Popen[bytes]", stopping: threading.Event) -> None:
    """Passes SIGINT and SIGTERM on to the server."""

    def forward(number: int, _: object) -> None:
        stopping.set()
        server.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)


def stop_at_end_of_input(
    server: "subprocess.Popen[bytes]", grace: float, ready: threading.Event, stopping: threading.Event
) -> None:
    """Waits for the end of standard input, then stops the server: by SIGTERM, and after `grace` seconds by SIGKILL."""
    while os.read(0, 1024):  # not sys.stdin: its lock, held by this thread, would abort Python's exit
        ready.set()
    stopping.set()
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        kill_group(server.pid)


def kill_when_backend_dies(
    pid: int, ready: threading.Event, stopping: threading.Event, backend_died: threading.Event
) -> None:
    """Kills the server once one of its own processes has died, unless it is being stopped."""
    ready.wait()
    before: set[str] = set()
    while not stopping.is_set():
        dead = dead_children(pid)
        if dead & before:
            kill_because("a model's process has died", pid, backend_died)
            return
        before = dead  # while it starts, Triton also has short-lived children, which it takes a moment to wait for
        time.sleep(CHECK_INTERVAL)


def kill_when_hung(
    pid: int, check: str, hung_after: float, stopping: threading.Event, backend_died: threading.Event
) -> None:
    """Kills the server once its models have not answered for so long, unless it is being stopped."""
    answered_at = None  # or when the server was found to listen
    while not (stopping.is_set() or backend_died.is_set()):
        began = time.monotonic()
        status, problem = run_check(check, hung_after)
        if status == 0 or (answered_at is None and status != NOT_LISTENING):
            answered_at = began
        elif answered_at is not None and time.monotonic() - answered_at >= hung_after and not stopping.is_set():
            kill_because(f"no answer for {hung_after:g} s ({problem})", pid, backend_died)
            return
        time.sleep(max(0.0, began + hung_after / 3 - time.monotonic()))


def run_check(program: str, timeout: float) -> "tuple[int, str]":
    """The exit status of the program, and what it says."""
    command = [sys.executable, "-I", program]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return NOT_LISTENING, f"the check took {timeout:g} s"  # which says nothing about the server
    return done.returncode, done.stderr.decode("utf-8", "replace").strip()


def kill_because(reason: str, pid: int, backend_died: threading.Event) -> None:
    """Kills the server, and says why on standard error."""
    backend_died.set()
    # E marks an error, as in Triton's own log
    print(f"E watchdog: {reason}, so Triton is killed", file=sys.stderr, flush=True)  # noqa: T201
    kill_group(pid)


def dead_children(pid: int) -> "set[str]":
    """The children of this process that have ended, and whose exit status was not read yet."""
    children = {child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in words(task)}
    return {child for child in children if words(Path("/proc", child, "stat"), after=")")[:1] == ["Z"]}


def words(path: Path, after: str = "") -> "list[str]":
    """The words of a file of /proc behind the last `after`; none when its process is gone."""
    try:
        text = path.read_text()
    except OSError:
        return []
    return (text.rpartition(after)[2] if after else text).split()


def kill_group(group: int) -> None:
    """Kills what is left of a process group: the Python models' processes outlive a server that is killed."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def remove_files(folder: Path) -> None:
    """Removes a server's folder and the shared memory beside it that is named after it, as far as they still exist."""
    for region in folder.parent.glob(f"{folder.name}?*"):
        with suppress(OSError):
            region.unlink()
    # at the end: what is left when this is interrupted has a folder by which it is found
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
