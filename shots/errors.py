"""What can go wrong with a shot."""

from __future__ import annotations


class ShotError(Exception):
    """A shot that cannot be read, tracked or exported as asked. The message says what to do; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
