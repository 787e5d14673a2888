"""Quotas of control groups, from files as the kernel writes them; see also tests/service/test_machine_memory.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from landmarks.control_groups import cores, cpu_quota


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", None), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("", None)],
)
def test_a_part_of_a_core_counts_as_one(text: str, cores: int | None, tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert cpu_quota(tmp_path) == cores


def test_the_least_quota_of_the_groups_above_counts(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/pods/one")
    write(tmp_path, "sys/fs/cgroup/pods/cpu.max", "300000 100000")
    write(tmp_path, "sys/fs/cgroup/pods/one/cpu.max", "max 100000")
    assert cpu_quota(tmp_path) == 3


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/other")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "400000")
    write(tmp_path, "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path) == 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system tells no affinity")
def test_cores_are_those_of_the_affinity_within_the_quota(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    assert cores(tmp_path) == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores(tmp_path) == 1
        write(tmp_path, "sys/fs/cgroup/cpu.max", "800000 100000")
        assert cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000")
    assert cores(tmp_path) == 1
