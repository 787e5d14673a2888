"""One run of a fuzzer: what was answered, the inputs that failed, and the memory of the process that answers."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, settings
from tqdm import tqdm

from bench.measuring import processes

HANG_SECONDS = 10.0
"""An input that takes longer counts as a hang."""
MAX_GROWTH = 0.15
"""Share by which the process may grow between a third of the run and its end."""
MAX_KEPT = 3
"""Inputs that are kept of each outcome that is a failure."""

ROUND = settings(
    max_examples=100, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
"""How the inputs of one round are drawn. Rounds are short, because hypothesis remembers all that it draws in one."""


class Outcome(NamedTuple):
    """What became of an input. `problem` says what is wrong with that, and is empty for an outcome that is right."""

    code: str
    problem: str = ""


class Fuzzer(ABC):
    """Draws inputs, and sends them to a process."""

    name: str

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process whose memory is measured."""

    @abstractmethod
    def settle(self) -> None:
        """Sends the same good inputs each time, before memory is measured."""

    @abstractmethod
    def round(self, seed: int, run: Run) -> None:
        """Draws inputs from a seed, sends them and counts their outcomes."""

    @abstractmethod
    def repeat(self, path: Path) -> Outcome:
        """Sends an input that was kept."""

    @abstractmethod
    def close(self) -> None:
        """Ends the process."""


class Run:
    """Counts outcomes and keeps the inputs of failures in a folder."""

    def __init__(self, fuzzer: Fuzzer, folder: Path) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.memory: list[tuple[int, int]] = []
        """Process id and bytes, after a third of the time and at the end."""
        self._fuzzer, self._folder = fuzzer, folder

    def count(self, outcome: Outcome, data: bytes, suffix: str) -> None:
        """Counts one outcome, and keeps the input if it is a failure. `suffix` is that of the file's name."""
        self.outcomes[outcome.code] += 1
        if not outcome.problem:
            return
        self.failures[outcome.code] += 1
        if self.failures[outcome.code] <= MAX_KEPT:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{self._fuzzer.name}-{hashlib.sha256(data).hexdigest()[:12]}{suffix}"
            path.write_bytes(data)
            command = shlex.join((sys.executable, "-m", "tests.fuzz", self._fuzzer.name, "--repeat", str(path)))
            tqdm.write(f"{outcome.code}: {outcome.problem}\n  repeat: {command}")

    def fuzz(self, seconds: float, seed: int) -> None:
        """Draws rounds until the time is over."""
        start = time.monotonic()
        with tqdm(total=round(seconds), unit="s", leave=False, disable=None, desc=self._fuzzer.name) as bar:
            for number in self._rounds(start, seconds, seed):
                self._fuzzer.round(number, self)
                bar.n = min(bar.total, round(time.monotonic() - start))
                bar.set_postfix_str(f"{self.outcomes.total()} inputs, {self.failures.total()} failures")

    def _rounds(self, start: float, seconds: float, seed: int) -> Iterator[int]:
        for until in (seconds / 3, seconds):
            while True:  # at least one round before each measurement
                yield seed
                seed += 1
                if time.monotonic() - start >= until:
                    break
            self._fuzzer.settle()
            self.memory.append((self._fuzzer.pid, sum(each.resident for each in processes(self._fuzzer.pid))))

    def report(self) -> bool:
        """Prints what was found. Returns whether the run passed."""
        print(f"{self._fuzzer.name}: {self.outcomes.total()} inputs, {self.failures.total()} failures")
        for code, count in self.outcomes.most_common():
            print(f"  {count:>9} {code}{' (failure)' if code in self.failures else ''}")
        grown = False
        if len(self.memory) == 2:
            (pid, before), (last_pid, after) = self.memory
            growth = after / before - 1
            grown = pid == last_pid and growth > MAX_GROWTH
            print(f"  memory: {before / 1e6:.1f} MB after a third, {after / 1e6:.1f} MB at the end ({growth:+.1%})")
        return not self.failures and not grown
