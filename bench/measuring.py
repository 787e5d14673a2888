"""What the benches share: the machine, what processes use, and rounds of windows that nobody else disturbed.

A bench compares its paths in interleaved rounds: each path has a window of a few seconds in every round, so that a
ratio compares neighbours in time. A window in which other processes took more of the machine than `max_foreign` is
repeated at once, and left out when that does not help.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from landmarks.control_groups import cpu_quota

ROOT: Final = Path(__file__).parents[1]
"""The checkout that the benches belong to."""

PROCESSES: Final[Mapping[str, str]] = {
    "/heatmap/": "heatmap",
    "/decode/": "decode",
    "/detector/": "detector",
    "watchdog.py": "watchdog",
    "tritonserver": "Triton",
    "service": "gateway",
    "": "peer",
}
"""Names of the processes that the benches start, by the first of these that is part of a process's command."""
CLIENT: Final = "client"
"""The name of the bench's own process."""
PACKAGES: Final = ("numpy", "opencv-python-headless", "openvino", "nvidia-pytriton", "grpcio", "uvicorn", "simplejpeg")
REPEATS: Final = 3
"""Times that a window is measured at most in a round."""
MAX_FOREIGN: Final = 0.05
"""Share of the machine that others may take in a window; the kernel's own work takes one or two percent."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_BUSY: Final = (0, 1, 2, 5, 6, 7)
"""Of the columns of /proc/stat: user, nice, system, irq, softirq, and steal, which other guests of the host took."""

T = TypeVar("T")
K = TypeVar("K")


# ---------------------------------------------------------------- the machine


def machine(packages: Iterable[str] = PACKAGES, checkout: Path = ROOT) -> str:
    """The processor, the versions of what is measured, and the commit, in two lines of Markdown."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    quota = cpu_quota()
    limit = f", {quota} of them by quota" if quota else ""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{model}, {os.cpu_count()} cores{limit}, {memory} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, commit {commit(checkout)}, {time.strftime('%Y-%m-%d')}\n{versions}\n"
    )


def version(package: str) -> str:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def commit(checkout: Path = ROOT) -> str:
    """The commit that a checkout has, with "+" where files differ from it."""
    command = ("git", "-C", str(checkout), "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty=+")
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


# ---------------------------------------------------------------- processes


class Process(NamedTuple):
    """A process as it was at a moment."""

    pid: int
    name: str
    cpu: float
    """CPU seconds that it has used, and its children that ended."""
    resident: int
    """Bytes of physical memory."""
    shared: int
    """The part of `resident` that Triton and its Python backend pass tensors in."""


def processes(root: int | None = None) -> Iterator[Process]:
    """A process (None: this one) and its descendants, without those that end meanwhile."""
    root = root or os.getpid()
    folder = Path(f"/proc/{root}")
    try:
        command = (folder / "cmdline").read_text()
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]  # the last two of children that ended
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        tasks = list((folder / "task").iterdir())
    except OSError:
        return
    name = CLIENT if root == os.getpid() else next(name for part, name in PROCESSES.items() if part in command)
    resident, shared = (int(status.get(key, "0 kB").split()[0]) * 1024 for key in ("VmRSS", "RssShmem"))
    yield Process(root, name, sum(map(int, ticks)) / _TICKS, resident, shared)
    for task in tasks:
        with suppress(OSError):  # a thread that has just ended; its children are another's now
            for child in (task / "children").read_text().split():
                yield from processes(int(child))


def cpu_seconds() -> dict[str, float]:
    """What this process and its descendants have used, by name."""
    used: dict[str, float] = {}
    for process in processes():
        used[process.name] = used.get(process.name, 0.0) + process.cpu
    return used


def resident_bytes() -> dict[str, int]:
    """The physical memory of this process and its descendants, by name."""
    memory: dict[str, int] = {}
    for process in processes():
        memory[process.name] = memory.get(process.name, 0) + process.resident
    return memory


# ---------------------------------------------------------------- windows


@dataclass(frozen=True)
class Window(Generic[T]):
    """A piece of work that was watched."""

    result: T
    seconds: float
    cpu: Mapping[str, float]
    """CPU seconds of this process and its descendants, by name."""
    foreign: float
    """Share of the machine that all other processes took, 0 to 1."""


def watch(work: Callable[[], T]) -> Window[T]:
    """Does the work, which may be that of descendants of this process."""
    busy, own, start = _busy_seconds(), cpu_seconds(), time.perf_counter()
    result = work()
    elapsed, own_after = time.perf_counter() - start, cpu_seconds()
    cpu = {name: seconds - own.get(name, 0.0) for name, seconds in own_after.items()}
    foreign = (_busy_seconds() - busy - sum(cpu.values())) / (elapsed * (os.cpu_count() or 1))
    # the kernel counts in hundredths of a second, which can be more than a short window has
    return Window(result, elapsed, cpu, min(1.0, max(0.0, foreign)))


def _busy_seconds() -> float:
    """What all processes of the machine have used since it started."""
    columns = _lines("/proc/stat")[0].split()[1:]
    return sum(int(columns[i]) for i in _BUSY) / _TICKS


Prepare = Callable[[], Callable[[], T]]
"""Makes ready, outside the window, and returns what is done in it."""


@dataclass(frozen=True)
class Rounds(Generic[K, T]):
    """What was measured: for each path a window of every round, None where others disturbed it."""

    windows: Mapping[K, Sequence[Window[T] | None]]

    def kept(self, path: K) -> list[Window[T]]:
        return [window for window in self.windows[path] if window is not None]

    def values(self, path: K, value: Callable[[T], float]) -> list[float]:
        """A figure of each round, NaN where the window was left out."""
        return [np.nan if window is None else value(window.result) for window in self.windows[path]]

    @property
    def left_out(self) -> str:
        """A sentence about the windows that do not count."""
        windows = [window for path in self.windows.values() for window in path]
        return f"{windows.count(None)} of {len(windows)} windows were left out, because other processes disturbed them."


def measure_rounds(
    paths: Mapping[K, Prepare[T]], rounds: int, max_foreign: float = MAX_FOREIGN, *, warm_up: bool = True
) -> Rounds[K, T]:
    """Every path once in each round; with `warm_up`, after a round that does not count."""
    windows: dict[K, list[Window[T] | None]] = {path: [] for path in paths}
    counted = [False] * warm_up + [True] * rounds
    with tqdm(total=len(counted) * len(paths), unit="window", leave=False, disable=None) as bar:
        for counts in counted:
            for path, prepare in paths.items():
                window = _undisturbed(prepare, REPEATS if counts else 1, max_foreign)
                if counts:
                    windows[path].append(window)
                bar.update()
    return Rounds(windows)


def _undisturbed(prepare: Prepare[T], tries: int, max_foreign: float) -> Window[T] | None:
    for _ in range(tries):
        window = watch(prepare())
        if window.foreign <= max_foreign:
            return window
    return None


def add_window_arguments(parser: argparse.ArgumentParser, rounds: int, seconds: float, *, warm_up: bool = True) -> None:
    """--rounds, --seconds and --max-foreign, with these defaults."""
    after = ", after one to warm up" if warm_up else ""
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds that are measured{after} [%(default)s]")
    parser.add_argument("--seconds", type=float, default=seconds, help="seconds of each window [%(default)s]")
    parser.add_argument(
        "--max-foreign",
        type=float,
        default=MAX_FOREIGN,
        metavar="SHARE",
        help="of the machine that other processes may take in a window that counts; 1 counts all [%(default)s]",
    )


def spread(values: Iterable[float], digits: int = 1) -> str:
    """The median, and in brackets the least and the largest: "70.1 (68.0 to 71.5)". NaN does not count."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "left out"
    low, middle, high = min(known), float(np.median(known)), max(known)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def bench_parser(module: str, text: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m bench.MODULE`, whose description is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
