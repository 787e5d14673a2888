"""Runs Triton, and ends it once one of its Python models has died.

Triton alone would go on: ready by its own account, and with an error for every request (2.51 does so). Once it has
ended, what keeps the container running starts it afresh. Usage: supervise.py COMMAND...

LANDMARKS_PRECISION=int8 in the environment has the 8-bit network served, for CPUs.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

INTERVAL_SECONDS = 0.5
MODEL_DIED = 70  # EX_SOFTWARE of sysexits.h


def main(command: list[str]) -> int:
    """Returns the server's exit status, 128 + n when signal n ended it, or MODEL_DIED."""
    server = subprocess.Popen(command)  # noqa: S603
    stopping = False

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        stopping = True
        server.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while server.poll() is None:
        if not stopping and has_dead_child(server.pid):
            sys.stderr.write("supervise: a model's process has died, so Triton is ended too\n")
            server.kill()
            server.wait()
            return MODEL_DIED
        time.sleep(INTERVAL_SECONDS)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def precision_options(precision: str) -> list[str]:
    """What chooses the network of that precision. Raises SystemExit for one that there is not."""
    if precision not in ("", "float32", "int8"):
        sys.exit(f"supervise: LANDMARKS_PRECISION is float32 or int8, not {precision!r}")
    return ["--model-config-name=int8"] if precision == "int8" else []


def has_dead_child(pid: int) -> bool:
    """Whether a child of this process has ended and waits to be noticed: Triton never does notice."""
    return ("Z", str(pid)) in map(state_and_parent, Path("/proc").glob("[0-9]*"))


def state_and_parent(process: Path) -> tuple[str, str]:
    """State letter and parent's id, as proc(5) has them after the name in parentheses; empty for one that is gone."""
    try:
        state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return "", ""
    return state, parent


if __name__ == "__main__":
    sys.exit(main([*sys.argv[1:], *precision_options(os.environ.get("LANDMARKS_PRECISION", ""))]))
