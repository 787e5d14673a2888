"""AVIF and HEIC files, which libraries decode. They can hold more than they state, and bytes in several items."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Final

from PIL.AvifImagePlugin import AvifImageFile
from pillow_heif import HeifImageFile

from service.images.av1 import frame_sizes
from service.images.bmff import items
from service.images.header import Source, damaged
from service.images.pillow import read_by_pillow

_MAX_FRAMES: Final = 16
"""Beside the first of each picture: layers, and what the decoder keeps without showing it."""
_SMALL: Final = 2**20
"""Pixels that a picture may have in any file: a tile of an image that is smaller, a thumbnail."""
_KEPT: Final = 7
"""Bytes of a pixel of a frame that the decoder keeps: 16 bits of three channels, and what it notes."""


def read_avif(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    try:
        coded = [item.data for item in items(data) if b"av01" in item.kinds]
        pictures = [list(islice(frame_sizes(each), _MAX_FRAMES + 2)) for each in coded]
    except ValueError as error:
        raise damaged("AVIF") from error
    source = read_by_pillow("AVIF", AvifImageFile, data)
    # libavif decodes a picture in full, and scales it to the size that is stated
    pixels = max(source.header.width * source.header.height, _SMALL)
    further = sum(len(frames) - 1 for frames in pictures if frames)
    if further > _MAX_FRAMES or any(width * height > pixels for frames in pictures for width, height in frames):
        raise damaged("AVIF")
    return replace(source, bytes_per_pixel=source.bytes_per_pixel + _KEPT * further)


def read_heic(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    try:
        items(data)  # libheif checks the sizes itself, and copies all extents
    except ValueError as error:
        raise damaged("HEIC") from error
    return read_by_pillow("HEIC", HeifImageFile, data)
