"""The limits of Linux's control groups, version 1 or 2: those of this process and of the groups that hold them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Group(NamedTuple):
    folder: Path
    version: int


def groups(controller: str, root: Path = Path("/")) -> Iterator[Group]:
    """Groups that may limit what the controller, such as "memory", controls."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", f"0:{controller}:/", *lines]:  # in a container the group itself is mounted at the top
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top, version = (base / controller, 1) if controllers else (base, 2)
        folder = top / path.lstrip("/")
        yield from (Group(each, version) for each in (folder, *folder.parents) if each.is_relative_to(top))


def cpu_quota(root: Path = Path("/")) -> int | None:
    """How many cores' time this process may take, rounded up; None without a limit."""
    quotas = (_quota(group) for group in groups("cpu", root))
    return min((math.ceil(quota) for quota in quotas if quota is not None), default=None)


def cores(root: Path = Path("/")) -> int:
    """How many cores this process may keep busy: those that it may run on, as a container's cpuset or taskset leaves
    them, within the quota of its control group.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cpu_quota(root) or allowed, allowed)


def _quota(group: Group) -> float | None:
    try:
        if group.version == 1:
            numbers = [(group.folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
        else:
            numbers = (group.folder / "cpu.max").read_text().split()
        quota, period = map(int, numbers)
    except (OSError, ValueError):  # no such controller, or "max"
        return None
    return quota / period if quota > 0 else None
