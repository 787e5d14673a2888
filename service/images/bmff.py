"""Files of the ISO base media file format, ISO/IEC 14496-12, of which AVIF and HEIC are: where their pictures are.

Readers trust the boxes of a file and differ in what they do about contradictions. So everything that one might take for
a picture is found, and what is written twice where it belongs once is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_MAX_EXTENTS: Final = 10_000
"""Pieces of a file's items. An item has one, and a grid of the largest picture has 4096 tiles."""
_MAX_BOXES: Final = 20_000
_SMALL: Final = 2**20
"""Bytes that items have together in any file: equal tiles of a picture share theirs."""


@dataclass(frozen=True)
class Item:
    """A picture, a part of one, or data about it."""

    kinds: frozenset[bytes]
    """What the file says that it is: "av01", "hvc1", "grid", "Exif", ... One, unless the file contradicts itself."""
    pieces: tuple[memoryview, ...]

    @property
    def data(self) -> memoryview:
        """The pieces as one."""
        return self.pieces[0] if len(self.pieces) == 1 else memoryview(b"".join(self.pieces))


def items(data: bytes | memoryview) -> list[Item]:
    """The items of the file, and the first sample of each of its tracks, whose kinds are those of its codecs.

    Raises ValueError for a file whose boxes are damaged, and where many bytes are in several items.
    """
    try:
        found = list(_items(memoryview(data)))
    except (struct.error, IndexError) as error:
        raise ValueError("a box is cut off") from error
    if sum(len(piece) for item in found for piece in item.pieces) > max(2 * len(data), _SMALL):
        raise ValueError("the same bytes are in several items")
    return found


def _items(data: memoryview) -> Iterator[Item]:
    budget = iter(range(_MAX_BOXES))
    for kind, content in _boxes(data, budget, ignores_rest=True):
        if kind == b"meta":
            yield from _items_of_meta(data, content[4:], budget)
        elif kind == b"moov":
            for inner, track in _boxes(content, budget):
                if inner == b"trak":
                    yield from _first_sample(data, track, budget)


def _boxes(
    data: memoryview, budget: Iterator[int], *, ignores_rest: bool = False
) -> Iterator[tuple[bytes, memoryview]]:
    """The type and the content of each box in `data`.

    `ignores_rest`: whether something else may follow them, as telephones write it behind a file.
    """
    position = 0
    while position < len(data):
        if next(budget, None) is None:
            raise ValueError("too many boxes")
        if ignores_rest and len(data) - position < 16:
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else position + size
        if not start <= end <= len(data):
            if ignores_rest:
                return
            raise ValueError("a box is longer than what it is in")
        yield kind, data[start:end]
        position = end


def _only(boxes: list[tuple[bytes, memoryview]], *kinds: bytes) -> memoryview:
    """The content of the box of one of these types; nothing where there is none. Raises ValueError for several."""
    found = [content for kind, content in boxes if kind in kinds]
    if len(found) > 1:
        raise ValueError(f"several boxes {kinds[0]!r}")
    return found[0] if found else memoryview(b"")


# ---------------------------------------------------------------- items


def _items_of_meta(data: memoryview, meta: memoryview, budget: Iterator[int]) -> Iterator[Item]:
    boxes = list(_boxes(meta, budget))
    locations, information = _only(boxes, b"iloc"), _only(boxes, b"iinf")
    if not locations:
        return
    sources = {0: data, 1: _only(boxes, b"idat")}
    kinds = _kinds(information, budget) if information else {}
    for number, pieces in _locations(_Reader(locations), sources):
        yield Item(frozenset(kinds.get(number, ())), pieces)


def _kinds(information: memoryview, budget: Iterator[int]) -> dict[int, set[bytes]]:
    """The types of each item."""
    kinds: dict[int, set[bytes]] = {}
    for kind, entry in _boxes(information[6 if information[0] == 0 else 8 :], budget):
        if kind == b"infe" and entry[0] >= 2:  # earlier versions have no type
            number, item_kind = struct.unpack_from(">Hxx4s" if entry[0] == 2 else ">Ixx4s", entry, 4)
            kinds.setdefault(number, set()).add(item_kind)
    return kinds


class _Reader:
    """Reads integers of a box one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def read(self, size: int) -> int:
        piece = self._data[self._position : self._position + size]
        if len(piece) < size:
            raise ValueError("a box is cut off")
        self._position += size
        return int.from_bytes(piece, "big")


def _locations(box: _Reader, sources: dict[int, memoryview]) -> Iterator[tuple[int, tuple[memoryview, ...]]]:
    """The number and the pieces of each item. `sources`: what the offsets are in, by the method of construction."""
    version = box.read(4) >> 24
    sizes = box.read(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    left = _MAX_EXTENTS
    for _ in range(box.read(wide)):
        number = box.read(wide)
        source = sources.get(box.read(2) & 15 if version else 0, memoryview(b""))
        box.read(2)  # in which file: this one
        base = box.read(base_size)
        count = box.read(2)
        left -= count
        if left < 0:
            raise ValueError("too many extents")
        pieces = []
        for _ in range(count):
            box.read(index_size if version else 0)
            start, length = base + box.read(offset_size), box.read(length_size)
            pieces.append(source[start : start + length if length else None])
        yield number, tuple(pieces)


# ---------------------------------------------------------------- tracks


def _first_sample(data: memoryview, track: memoryview, budget: Iterator[int]) -> Iterator[Item]:
    table = track
    for kind in (b"mdia", b"minf", b"stbl"):
        table = _only(list(_boxes(table, budget)), kind)
    boxes = list(_boxes(table, budget))
    described, sizes = _only(boxes, b"stsd"), _only(boxes, b"stsz")
    chunks = _only(boxes, b"stco", b"co64")
    if not (described and sizes and chunks):
        return
    codecs = frozenset(kind for kind, _ in _boxes(described[8:], budget))
    wide = any(kind == b"co64" for kind, _ in boxes)
    (start,) = struct.unpack_from(">Q" if wide else ">I", chunks, 8)
    (size_of_all,) = struct.unpack_from(">I", sizes, 4)
    size = size_of_all or struct.unpack_from(">I", sizes, 12)[0]
    yield Item(codecs, (data[start : start + size],))
