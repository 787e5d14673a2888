"""The size of an image in pixels, and how files and commands write it."""

from __future__ import annotations

from typing import Final, NamedTuple


class Size(NamedTuple):
    """Width and height in pixels, in this order, as OpenCV takes them.

    As text it is the side of a square, "256", or height x width, "256x192": the order of an array's axes, and of the
    literature on human poses.
    """

    width: int
    height: int

    @classmethod
    def square(cls, side: int) -> Size:
        """The size of a square."""
        return cls(side, side)

    @classmethod
    def parse(cls, text: int | str) -> Size:
        """Reads `plain`, or a size as text. Raises ValueError for anything else."""
        sides = [] if isinstance(text, bool) else str(text).split("x")
        if len(sides) not in (1, 2) or not all(side.isascii() and side.isdigit() for side in sides):
            raise ValueError(f'a size is the side of a square, 256, or height x width, "256x192"; not {text!r}')
        return cls(int(sides[-1]), int(sides[0]))

    def __str__(self) -> str:
        return str(self.height) if self.width == self.height else f"{self.height}x{self.width}"

    @property
    def plain(self) -> int | str:
        """What JSON and TOML hold: a number for a square, else the text."""
        return self.height if self.width == self.height else str(self)


DEFAULT_SIZE: Final = Size.square(256)
"""Of the crops of a codec that states no other, and of the golden crop's image."""
