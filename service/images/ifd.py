"""Image file directories: the tables of tags of TIFF files, of EXIF blocks and of the multi-picture format (MPF).

TIFF 6.0, section 2; BigTIFF differs in the width of its fields. Nothing here trusts the data: what lies outside of the
block is taken as absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ORIENTATION: Final = 0x0112
"""The tag of the orientation, 1 to 8."""

_MAX_DIRECTORIES: Final = 100
_MAX_ENTRIES: Final = 4096
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}
"""Bytes of a value, by the types that are read: integers without sign, ASCII and bytes."""
_SHORT: Final = 3


@dataclass(frozen=True)
class Directory:
    """One directory of a block. A TIFF file has one for each of its pages."""

    offset: int
    order: str
    """"<" or ">", as in `struct`."""
    block: bytes
    entries: dict[int, tuple[int, int, int]]
    """By tag: the type, the number of values, and the offset of the first of them in the block."""

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of the tag; `default` where the tag is absent or no integer."""
        kind, count, start = self.entries.get(tag, (0, 0, 0))
        value = self.block[start : start + _SIZES.get(kind, 0)]
        if kind == 2 or count == 0 or not value:
            return default
        return int.from_bytes(value, "little" if self.order == "<" else "big")

    def data(self, tag: int) -> bytes:
        """The bytes of all values of the tag."""
        kind, count, start = self.entries.get(tag, (0, 0, 0))
        return self.block[start : start + count * _SIZES.get(kind, 0)]


def directories(block: bytes) -> Iterator[Directory]:
    """The directories of the block in their order: at most 100, and none twice."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return
    try:
        is_big = struct.unpack_from(order + "H", block, 2)[0] == 43
        offset = struct.unpack_from(order + ("Q" if is_big else "I"), block, 8 if is_big else 4)[0]
        seen: set[int] = set()
        while offset and offset not in seen and len(seen) < _MAX_DIRECTORIES:
            seen.add(offset)
            entries, following = _entries(block, offset, order, is_big)
            yield Directory(offset, order, block, entries)
            offset = struct.unpack_from(order + ("Q" if is_big else "I"), block, following)[0]
    except (struct.error, OverflowError):  # an offset is beyond the end, or larger than an address
        return


def _entries(block: bytes, offset: int, order: str, is_big: bool) -> tuple[dict[int, tuple[int, int, int]], int]:
    """The entries of the directory at `offset`, and the offset of the field behind them. Raises struct.error."""
    count = struct.unpack_from(order + ("Q" if is_big else "H"), block, offset)[0]
    start, entry, inline = (offset + 8, "HHQ", 8) if is_big else (offset + 2, "HHI", 4)
    size = struct.calcsize(order + entry) + inline
    entries = {}
    for position in range(start, start + min(count, _MAX_ENTRIES) * size, size):
        tag, kind, values = struct.unpack_from(order + entry, block, position)
        place = position + size - inline
        if values * _SIZES.get(kind, 0) > inline:
            place = struct.unpack_from(order + ("Q" if is_big else "I"), block, place)[0]
        entries[tag] = (kind, values, place)
    return entries, start + count * size


def exif_orientation(block: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 where there is none or the block is damaged.

    As for browsers, it is one number of 16 bits: some telephones write 32, and no browser turns their pictures.
    """
    first = next(directories(block.removeprefix(b"Exif\0\0")), None)
    if first is None or first.entries.get(ORIENTATION, (0, 0))[:2] != (_SHORT, 1):
        return 1
    orientation = first.number(ORIENTATION)
    return orientation if orientation in range(1, 9) else 1
