"""The log of the process that runs the tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

SET_UP = (None, "uvicorn", "grpc._cython.cygrpc", "PIL", "python_multipart")
"""The loggers that `service.observability.logs.set_up` changes; None is the root."""


@contextmanager
def log_kept() -> Iterator[None]:
    """The log after the block is the one before it.

    The command `landmarks` sets up the log of the whole process. Left so, it would write the lines of later tests to a
    standard error that is closed, or into what these tests read there.
    """
    before = [(log, log.level, log.handlers[:], log.filters[:]) for log in map(logging.getLogger, SET_UP)]
    try:
        yield
    finally:
        for log, level, handlers, filters in before:
            log.setLevel(level)
            log.handlers[:], log.filters[:] = handlers, filters
