"""The command line as a user types it."""

from __future__ import annotations

import subprocess
import sys


def landmarks_train(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`landmarks-train` with these arguments, run to its end."""
    command = [sys.executable, "-m", "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
