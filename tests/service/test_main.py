"""The start of a process without standard streams."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import os, sys
from service.__main__ import open_missing_streams
open_missing_streams()
print("announced", flush=True)
print("logged", file=sys.stderr, flush=True)
sys.exit(os.readlink(f"/proc/self/fd/{sys.argv[1]}") != "/dev/null")
"""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_standard_stream_goes_to_dev_null(number: int) -> None:
    command = shlex.join([sys.executable, "-c", PROGRAM, str(number)])
    done = subprocess.run(["/bin/sh", "-c", f"exec {command} {number}>&-"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (b"" if number == 1 else b"announced\n")
    assert done.stderr == (b"" if number == 2 else b"logged\n")


@pytest.mark.parametrize(
    ("arguments", "status"), [(["keys", "new", "ana"], 1), (["detect", "a.png"], 1), (["--help"], 0)]
)
def test_what_standard_output_is_for_is_not_lost_where_it_is_closed(arguments: list[str], status: int) -> None:
    command = shlex.join([sys.executable, "-m", "service", *arguments])
    done = subprocess.run(["/bin/sh", "-c", f"exec {command} >&-"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == status
    assert done.stderr == (b"landmarks: standard output is closed: nothing could be written to it\n" if status else b"")


def test_a_closed_standard_error_changes_nothing_else(tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-m", "service", "detect", str(tmp_path)])
    done = subprocess.run(["/bin/sh", "-c", f"exec {command} 2>&-"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2, "there is no image in the folder"
