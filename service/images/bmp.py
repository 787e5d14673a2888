"""BMP files, which Pillow decodes. It decodes run lengths in Python, at half a second a megabyte."""

from __future__ import annotations

from typing import Final

from PIL.BmpImagePlugin import BmpImageFile

from service.images.header import Source, unsupported
from service.images.pillow import read_by_pillow

_RUN_LENGTHS: Final = (1, 2)
_MAX_RUN_LENGTHS: Final = 2 * 2**20
"""Bytes."""


def read_bmp(data: bytes) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    compression = int.from_bytes(data[30:34], "little")
    if compression in _RUN_LENGTHS and len(data) > _MAX_RUN_LENGTHS:
        raise unsupported("BMP", f"run lengths of more than {_MAX_RUN_LENGTHS >> 20} MiB")
    return read_by_pillow("BMP", BmpImageFile, data)
