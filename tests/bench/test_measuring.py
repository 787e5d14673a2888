"""Which windows count, and whose processes they watch."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from bench import measuring
from bench.measuring import Window, measure_rounds, processes, spread, watch


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that uses a tenth of a second of CPU time for each line that it reads, and then writes one."""
    code = (
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    end = time.process_time() + 0.1\n"
        "    while time.process_time() < end: pass\n"
        "    print(flush=True)\n"
    )
    command = (sys.executable, "-c", code, "/model_repo/heatmap/1")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_what_a_child_uses_is_counted_under_its_name(child: subprocess.Popen[bytes]) -> None:
    def work() -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        return "done"

    window = watch(work)
    assert window.result == "done"
    assert window.cpu["heatmap"] >= 0.08  # the kernel counts in hundredths
    assert 0 <= window.foreign <= 1
    (own, other) = (each for each in processes() if each.pid in (os.getpid(), child.pid))
    assert (own.name, other.name) == ("client", "heatmap")
    assert other.resident > 1 << 20


def test_a_child_that_ends_within_the_window_is_not_foreign() -> None:
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    window = watch(lambda: subprocess.run([sys.executable, "-c", busy], check=True))
    assert window.cpu["client"] >= 0.29  # the kernel counts in hundredths


def test_a_process_that_has_ended_uses_nothing(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert list(processes(child.pid)) == []


def test_disturbed_windows_are_repeated_and_then_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tries for each window, but one in the round that warms up. Of "b", only the fifth window is undisturbed."""
    foreign = {"a": iter([0.0] * 9), "b": iter([0.9, 0.9, 0.9, 0.9, 0.05])}
    counts = {"a": 0, "b": 0}

    def fake(work: Callable[[], str]) -> Window[str]:
        name = work()
        counts[name] += 1
        return Window(f"{name}{counts[name]}", 1.0, {}, next(foreign[name]))

    monkeypatch.setattr(measuring, "watch", fake)
    rounds = measure_rounds({"a": lambda: lambda: "a", "b": lambda: lambda: "b"}, 2, max_foreign=0.1)
    assert [window.result for window in rounds.kept("a")] == ["a2", "a3"]
    assert [window.result for window in rounds.kept("b")] == ["b5"]
    first, second = rounds.values("b", lambda result: 10.0 * float(result[1:]))
    assert math.isnan(first)
    assert second == 50.0
    assert rounds.left_out == "1 of 4 windows were left out, because other processes disturbed them."


def test_a_spread_is_the_median_and_the_ends_of_what_counts() -> None:
    assert spread([3.0, 1.0, math.nan, 1000.26]) == "3.0 (1.0 to 1,000.3)"
    assert spread([0.5, 1.0], digits=2) == "0.75 (0.50 to 1.00)"
    assert spread([math.nan]) == "left out"
