"""GIF files, which Pillow decodes. It passes over their blocks one by one in Python, and keeps comments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from PIL.GifImagePlugin import GifImageFile

from service.images.header import Source, damaged, unsupported
from service.images.pillow import read_by_pillow

_MAX_BLOCKS: Final = 1_000_000
"""Most files have a block for every 255 bytes."""
_MAX_EXTENSIONS: Final = 100_000
"""Blocks of extensions among them: comments, and XMP in disguise."""
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B


def read_gif(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    blocks = extensions = 0
    try:
        for kind in _blocks(data):
            blocks += 1
            extensions += kind == _EXTENSION
            if blocks > _MAX_BLOCKS or extensions > _MAX_EXTENSIONS:
                raise unsupported("GIF", "an unusual number of blocks")
    except IndexError as error:
        raise damaged("GIF") from error
    return read_by_pillow("GIF", GifImageFile, data)


def _blocks(data: bytes) -> Iterator[int]:
    """What each block before the second image is of: Pillow reads no more. Raises IndexError where the file ends."""
    position, images = 13 + _palette(data[10]), 0
    while images < 2 and position < len(data) and (kind := data[position]) != _END:
        yield kind
        if kind == _IMAGE:
            images += 1
            position += 11 + _palette(data[position + 9])
        elif kind == _EXTENSION:
            position += 2
        else:
            position += 1  # Pillow passes over it
            continue
        while position < len(data) and (size := data[position]):
            yield kind
            position += size + 1
        position += 1


def _palette(flags: int) -> int:
    """Bytes of a palette."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
