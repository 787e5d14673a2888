"""The memory that this process may use: of the machine, and of its control groups, version 1 or 2."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PROCESS_BYTES: Final = 512 << 20
"""What the process needs beside what requests hold: about 200 MB once it has worked, and what the allocator keeps."""


class _Files(NamedTuple):
    """Names of a control group's files."""

    limit: str
    used: str


_VERSION_1: Final = _Files("memory.limit_in_bytes", "memory.usage_in_bytes")
_VERSION_2: Final = _Files("memory.max", "memory.current")


def request_memory(root: Path = Path("/")) -> int:
    """Bytes that requests may hold where no setting says so: of a control group's limit all but PROCESS_BYTES, but at
    least half; without a limit half of the machine's memory.
    """
    total = _machine_memory(root)
    limit = min((limit for limit, _ in _group_memory(root)), default=total)
    return total // 2 if limit >= total else max(limit - PROCESS_BYTES, limit // 2)


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process could use: the machine's available memory, or what its control groups have left."""
    return min([_meminfo("MemAvailable", root), *(limit - used for limit, used in _group_memory(root))])


def _machine_memory(root: Path) -> int:
    try:
        return _meminfo("MemTotal", root)
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _meminfo(name: str, root: Path) -> int:
    """Bytes. Raises OSError where there is no such file, and IndexError where it has no such line."""
    text = (root / "proc/meminfo").read_text()
    return int(re.findall(rf"^{name}: +(\d+) kB", text, re.MULTILINE)[0]) << 10


def _group_memory(root: Path) -> Iterator[tuple[int, int]]:
    """The limit and the use of every control group that limits this process."""
    for folder, names in _groups(root):
        try:
            yield int((folder / names.limit).read_text()), int((folder / names.used).read_text())
        except (OSError, ValueError):  # no such controller, or "max"
            continue


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """Folders of this process's control groups and of those that hold them."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", "0:memory:/", *lines]:  # in a container the group itself is mounted at the top
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (base / "memory", _VERSION_1) if controllers else (base, _VERSION_2)
        folder = top / path.lstrip("/")
        yield from ((each, names) for each in (folder, *folder.parents) if each.is_relative_to(top))
