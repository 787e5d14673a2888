"""The memory that this process may use: of the machine, and of its control groups, version 1 or 2."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from landmarks.control_groups import groups

PROCESS_BYTES: Final = 512 << 20
"""What the process needs beside what requests hold: about 200 MB once it has worked, and what the allocator keeps."""


_FILES: Final = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
"""Names of a control group's files: its limit, and what it uses."""


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
    for group in groups("memory", root):
        limit, used = (group.folder / name for name in _FILES[group.version])
        try:
            yield int(limit.read_text()), int(used.read_text())
        except (OSError, ValueError):  # no such controller, or "max"
            continue
