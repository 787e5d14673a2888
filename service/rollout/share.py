"""The share of the requests that a candidate answers: a number, or what a file holds at the moment."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

READ_INTERVAL: Final = 1.0
"""Seconds between two looks at the file."""


class Share:
    """A share in [0, 1], to be called for its current value."""

    def __init__(self, initial: float, path: Path | None = None) -> None:
        """`initial`: the value until the file at `path`, if one is given, holds another."""
        self._value = initial
        self._path = path
        self._problem = ""
        self.read()

    def __call__(self) -> float:
        return self._value

    def read(self) -> None:
        """Reads the file. A file that cannot be used leaves the share as it was, and is logged once."""
        if self._path is None:
            return
        try:
            value = parse_share(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if str(error) != self._problem:
                logger.error("the candidate's share stays %g: %s: %s", self._value, self._path, error)
            self._problem = str(error)
            return
        if value != self._value:
            logger.warning("the candidate's share is now %g, was %g", value, self._value)
        self._value, self._problem = value, ""

    async def follow(self) -> None:
        """Reads the file every READ_INTERVAL, by its path: a mounted ConfigMap is replaced by another file."""
        while self._path is not None:
            await asyncio.sleep(READ_INTERVAL)
            await asyncio.to_thread(self.read)


def parse_share(text: str) -> float:
    """A number in [0, 1]. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{text.strip()[:40]!r} is not a number from 0 to 1")
    return value
