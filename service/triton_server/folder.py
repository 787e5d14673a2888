"""The folder of an embedded Triton: `/dev/shm/landmarks-triton-XXXXXXXX`, which only its user can enter.

It holds the socket of the server and links to its backend. The regions of shared memory, which Triton creates beside
it, begin with the folder's name. Whoever uses a folder holds a lock on it, so that a later start recognises what
processes that were killed have left behind, and removes it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.triton_server import watchdog

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108
PREFIX: Final = "landmarks-triton-"


def create() -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock until the last copy of it is closed. Raises OSError."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=SHARED_MEMORY))
        descriptor = _lock(folder)
        if descriptor is not None and os.fstat(descriptor).st_nlink:
            return folder, descriptor
        if descriptor is not None:  # swept by another process before it was locked
            os.close(descriptor)


def sweep() -> list[Path]:
    """Removes the folders, and with each its regions, that this user's processes have left. Returns the folders."""
    swept = []
    for folder in SHARED_MEMORY.glob(f"{PREFIX}*"):
        descriptor = _lock(folder)
        if descriptor is None:
            continue
        watchdog.remove_files(folder)
        os.close(descriptor)
        swept.append(folder)
    return swept


def regions(folder: Path) -> list[Path]:
    """The regions of shared memory that the Triton of this folder has created."""
    return [path for path in folder.parent.glob(f"{folder.name}?*") if not path.is_dir()]


def _lock(folder: Path) -> int | None:
    """A descriptor that locks the folder; None while another process does, or where it is not this user's folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise PermissionError(f"{folder} belongs to another user")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
    return None
