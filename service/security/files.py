"""Files of keys and certificates: small, and read at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 2**20


def read_file(path: Path) -> bytes:
    """Raises OSError also for a pipe or a device, which could be read for ever, and for a large file."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise OSError(f"it is no file of at most {_MAX_BYTES >> 20} MiB")
        return file.read(_MAX_BYTES)
