"""What the C library keeps of the memory that this process and Triton have freed.

Pictures and heatmaps are megabytes that live for milliseconds. By itself glibc takes one that is freed for a sign that
more will come: from then on buffers of its size, up to 32 MB, are cut from heaps, of which it keeps several. What lies
between two that are in use is lost to all other purposes, and so such a process grows for thousands of requests.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

ALLOCATOR: Final = {
    # of a hundred threads each would otherwise keep what it freed to itself
    "MALLOC_ARENA_MAX": 2,
    # a buffer of this many bytes is memory of its own, given back when it is freed; once told, glibc sticks to it.
    # Fresh pages are dear: with 1 MiB a request took up to twice the CPU time
    "MALLOC_MMAP_THRESHOLD_": 16 << 20,
    # free bytes that a heap may keep at its end, for the same reason
    "MALLOC_TRIM_THRESHOLD_": 32 << 20,
}
"""Variables of the environment that glibc reads when a process starts. What the caller's own says stands."""

TRITON_OPTIONS: Final = (
    # a model's region for tensors that has to grow is mapped once more, and what it was mapped to before stays. This
    # much holds the largest batch and the one before it
    f"--backend-config=python,shm-default-byte-size={32 << 20}",
    # each request kept to be used again stays as large as the largest picture that it ever held
    "--grpc-infer-allocation-pool-size=0",
)
"""For the same reason, on tritonserver's command line."""

_MALLOPT: Final = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}
"""The same by the numbers of <malloc.h>."""


def allocator_environment() -> dict[str, str]:
    """ALLOCATOR for a process that is about to be started."""
    return {name: os.environ.get(name, str(value)) for name, value in ALLOCATOR.items()}


def set_up() -> bool:
    """ALLOCATOR for this process, best before it has threads. Returns whether its C library heeds all of it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # musl, macOS
        return False
    heeded = [mallopt(_MALLOPT[name], value) for name, value in ALLOCATOR.items() if name not in os.environ]
    return 0 not in heeded
