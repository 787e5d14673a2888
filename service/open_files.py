"""The limit of open files of the process, and how many connections fit below it."""

from __future__ import annotations

import logging
import resource
from typing import Final

from service.rest.listener import ConnectionLimits

logger = logging.getLogger(__name__)

MOST: Final = 65_536
"""To which the limit is raised; some systems allow a thousand million, and programs that close all of them."""
RESERVED: Final = 128
"""Descriptors that are not for clients of the APIs: the metrics' port, Triton, files, pipes, and what libraries use."""
METRICS_CONNECTIONS: Final = ConnectionLimits(total=16, per_peer=12)
"""Of the metrics' own port. They are part of what is reserved."""


def raise_open_files() -> int:
    """Raises the soft limit of open files as far as the hard one, and returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return MOST if soft == resource.RLIM_INFINITY else soft


def connection_limits(total: int, per_peer: int, open_files: int) -> ConnectionLimits:
    """The limits of each of the two APIs: those wanted, or fewer where so many files cannot be open."""
    possible = max((open_files - RESERVED) // 2, 1)
    if possible >= total:
        return ConnectionLimits(total, min(per_peer, total))
    logger.warning(
        "each API has at most %d connections, because at most %d files may be open: raise the limit (ulimit -n), or "
        "lower LANDMARKS_MAX_CONNECTIONS",
        possible,
        open_files,
    )
    return ConnectionLimits(possible, min(per_peer, max(possible // 2, 1)))
