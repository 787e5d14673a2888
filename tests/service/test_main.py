"""The start of a process without standard streams."""

import shlex
import subprocess
import sys

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
