"""Searches through large data that leave other threads their turn."""

from __future__ import annotations

import re
from typing import Final

_WINDOW: Final = 2**18
"""Bytes that are searched at a time: less than a millisecond."""


def search(pattern: re.Pattern[bytes], data: bytes, start: int = 0, longest: int = 4096) -> re.Match[bytes] | None:
    """The first match from `start` on, as `pattern.search` finds it, if it has at most `longest` bytes.

    A search holds the interpreter's lock, and with it the event loop, until it ends: over 32 MB up to half a second.
    """
    while start < len(data):
        match = pattern.search(data, start, start + _WINDOW + longest)
        if match is not None:
            return match
        start += _WINDOW
    return None
