"""External programs, which some machines lack."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"


def tool(name: str, where: str) -> str:
    """The path of a program, beside this Python or on PATH. Without it the test is skipped, with how to get it."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} on this machine: {where}")
    return path


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The standard output. A failure shows both streams."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
