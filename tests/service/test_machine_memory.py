"""The memory of the machine and of control groups, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.machine_memory import PROCESS_BYTES, available_memory, request_memory

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of 8000 MiB, of which 4000 are available, without control groups."""
    write(tmp_path, "proc/meminfo", f"MemTotal:  {8000 << 10} kB\nMemAvailable:     {4000 << 10} kB\n")
    return tmp_path


def write(root: Path, name: str, text: object) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")


def group(root: Path, folder: str, limit: object, used: int, version: int = 2) -> None:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, value in zip(names, (limit, used), strict=True):
        write(root, f"sys/fs/cgroup/{folder}/{name}", value)


def test_without_a_limit_requests_have_half_of_the_machine(root: Path) -> None:
    assert (request_memory(root), available_memory(root)) == (4000 * MIB, 4000 * MIB)
    group(root, ".", "max", 1000)
    assert (request_memory(root), available_memory(root)) == (4000 * MIB, 4000 * MIB)


def test_of_a_containers_limit_requests_have_what_the_process_leaves(root: Path) -> None:
    group(root, ".", 2048 * MIB, 100 * MIB)
    assert request_memory(root) == 2048 * MIB - PROCESS_BYTES
    assert available_memory(root) == 1948 * MIB
    group(root, ".", 600 * MIB, 0)
    assert request_memory(root) == 300 * MIB


def test_the_least_limit_of_the_groups_above_counts(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/system.slice/landmarks.service")
    group(root, "system.slice", 3000 * MIB, 2900 * MIB)
    group(root, "system.slice/landmarks.service", 4000 * MIB, 0)
    group(root, "other.slice", 1, 0)
    assert request_memory(root) == 3000 * MIB - PROCESS_BYTES
    assert available_memory(root) == 100 * MIB


def test_control_groups_of_version_1(root: Path) -> None:
    write(root, "proc/self/cgroup", "7:cpu:/else\n4:memory:/docker/abc")
    group(root, "memory/docker/abc", 2000 * MIB, 500 * MIB, version=1)
    group(root, "memory", 2**63 - 4096, 0, version=1)
    assert request_memory(root) == 2000 * MIB - PROCESS_BYTES
    assert available_memory(root) == 1500 * MIB
