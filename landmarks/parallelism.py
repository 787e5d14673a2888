"""How the landmark network shares the cores among the crops of a call (docs/decisions/0057 and 0060)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_STREAMS: Final = 8
"""Crops that are computed beside each other at most: as many as a call has."""

THREADS_VARIABLE: Final = "LANDMARKS_NETWORK_THREADS"
STREAMS_VARIABLE: Final = "LANDMARKS_NETWORK_STREAMS"
"""Of the environment: how Triton's model is told, whose process reads no settings."""


class Parallelism(NamedTuple):
    """Threads and streams of the landmark network."""

    threads: int = 0
    """Of the network; 0 leaves the number to OpenVINO, within the quota of the control group."""
    streams: int = 0
    """Crops computed beside each other, among which the threads are divided; 0: as many as threads, at most
    MAX_STREAMS."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Parallelism:
        """By THREADS_VARIABLE and STREAMS_VARIABLE; empty or missing is 0. Raises ValueError for what is no number."""
        return cls(*(_whole_number(name, environment.get(name, "")) for name in (THREADS_VARIABLE, STREAMS_VARIABLE)))

    def to_environment(self) -> dict[str, str]:
        """What `from_environment` reads."""
        return {THREADS_VARIABLE: str(self.threads), STREAMS_VARIABLE: str(self.streams)}


AUTOMATIC: Final = Parallelism()


def _whole_number(name: str, text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name} must be a whole number, not {text!r}; 0 leaves it to OpenVINO")
    return int(text)
