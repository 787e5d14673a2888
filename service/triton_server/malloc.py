"""Settings of the C library's allocator, for this process and for Triton, that keep freed memory from piling up.

Images and heatmaps are megabytes that live for milliseconds. When glibc frees such a buffer, it raises its threshold
for mmap: from then on buffers of that size, up to 32 MB, come from its heaps, of which it keeps several. Memory between
two buffers in use cannot be given back, so that such a process grows for thousands of requests.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

ALLOCATOR: Final = {
    # otherwise each of a hundred threads may have a heap of its own
    "MALLOC_ARENA_MAX": 2,
    # a buffer of at least this many bytes is mapped by itself, and given back when it is freed; once it is set, glibc
    # does not raise it. Fresh pages cost time: with 1 MiB a request took up to twice the CPU time
    "MALLOC_MMAP_THRESHOLD_": 16 << 20,
    # free bytes that a heap may keep at its end
    "MALLOC_TRIM_THRESHOLD_": 32 << 20,
}
"""Environment variables that glibc reads when a process starts. Those that are set already keep their values."""

REGION_BYTES: Final = 32 << 20
"""Bytes of each model's shared memory for tensors. When that grows, the old mapping stays; this size holds the largest
batch and the one before it, so that it never grows."""


def triton_options(region_bytes: int = REGION_BYTES) -> tuple[str, ...]:
    """Options of tritonserver for the same purpose."""
    return (
        f"--backend-config=python,shm-default-byte-size={region_bytes}",
        # a pooled request object stays as large as the largest tensor that it ever held
        "--grpc-infer-allocation-pool-size=0",
    )


_MALLOPT: Final = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}
"""The numbers of the same parameters in <malloc.h>."""


def allocator_environment() -> dict[str, str]:
    """ALLOCATOR as the environment of a process to be started."""
    return {name: os.environ.get(name, str(value)) for name, value in ALLOCATOR.items()}


def set_up() -> bool:
    """Applies ALLOCATOR to this process, best before it has threads. Returns whether the C library accepted it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # musl, macOS
        return False
    accepted = [mallopt(_MALLOPT[name], value) for name, value in ALLOCATOR.items() if name not in os.environ]
    return 0 not in accepted
