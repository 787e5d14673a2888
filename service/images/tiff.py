"""TIFF files: which of their pages is the image, and whether it is read. Pillow decodes it."""

from __future__ import annotations

import ctypes
import struct
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Final

import numpy as np
import PIL._imaging
import PIL.TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from service.images.header import Source, damaged, unsupported
from service.images.ifd import ORIENTATION, Directory, directories
from service.images.pillow import read_by_pillow
from service.images.pixels import Pixels

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _BITS, _COMPRESSION, _SAMPLES = 254, 255, 258, 259, 277
_PHOTOMETRIC, _WHITE_IS_ZERO, _BLACK_IS_ZERO = 262, 0, 1
_PLANAR_CONFIGURATION, _INTERLEAVED = 284, 1
_SHORT = 3
"""The type of integers of two bytes."""
_DNG_VERSION = 50706
_SIDES_AND_TILES: Final = ((256, 322), (257, 323))
"""The tags of the width and height, of the image and of its tiles."""
_MAX_TILE: Final = 4096
"""Pixels that a tile's side may have where the image's has fewer. A tile is allocated in full."""

# Pillow's own reader of pixels without compression takes planes of 16 bits for planes of 8
PIL.TiffImagePlugin.READ_LIBTIFF = True

# libtiff writes what is wrong with a file to standard error: for some compressions a line for every row of pixels
with suppress(OSError, AttributeError):  # a Pillow that hides its libtiff
    ctypes.CDLL(PIL._imaging.__file__).TIFFSetErrorHandler(None)

_COMPRESSIONS: Final = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
"""None, CCITT, LZW, JPEG, Deflate, PackBits, LZMA and Zstandard: what the libtiff of Pillow's wheels decodes."""


def read_tiff(data: bytes) -> Source:
    """Reads the first page that is neither a thumbnail nor a mask.

    Raises ServiceError of kind DAMAGED_IMAGE or UNSUPPORTED_IMAGE.
    """
    pages = list(directories(data))
    if not pages:
        raise damaged("TIFF")
    images = [page for page in pages if _is_image(page)]
    if not images or _DNG_VERSION in pages[0].entries:
        raise unsupported("TIFF", "raw data of a camera, or thumbnails alone")
    page = images[0]
    compression = page.number(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise unsupported("TIFF", f"compression {compression}")
    if any(page.number(tile) > max(page.number(side), _MAX_TILE) for side, tile in _SIDES_AND_TILES):
        raise damaged("TIFF")
    samples, bits = page.number(_SAMPLES, 1), page.number(_BITS, 1)
    is_inverted = bits > 8 and page.number(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    source = read_by_pillow("TIFF", _open, _for_pillow(data, page), f"{samples} channels of {bits} bits", bits=bits)
    return Source(
        replace(source.header, has_several_images=len(images) > 1),
        (lambda: _inverted(source.decode())) if is_inverted else source.decode,
        source.bytes_per_pixel,
    )


def _inverted(pixels: Pixels) -> Pixels:
    return np.invert(pixels, out=pixels)


def _is_image(page: Directory) -> bool:
    """Whether the page is the image itself: not one of reduced size (bit 0), nor a mask (bit 2)."""
    return not page.number(_NEW_SUBFILE_TYPE) & 0b101 and page.number(_SUBFILE_TYPE) != 2


def _for_pillow(data: bytes, page: Directory) -> bytearray:
    """The file as Pillow's reader can take it: it opens the first page, and its list of layouts has gaps."""
    patched = bytearray(data)
    is_big = struct.unpack_from(page.order + "H", data, 2)[0] == 43
    struct.pack_into(page.order + ("Q" if is_big else "I"), patched, 8 if is_big else 4, page.offset)
    if page.number(_BITS, 1) > 8 and page.number(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        _set(patched, page, _PHOTOMETRIC, _BLACK_IS_ZERO)
    if page.number(_SAMPLES, 1) == 1:  # then this tag has no meaning
        _set(patched, page, _PLANAR_CONFIGURATION, _INTERLEAVED)
    return patched


def _set(patched: bytearray, page: Directory, tag: int, value: int) -> None:
    """Writes the value of a tag that is there and has two bytes."""
    kind, count, start = page.entries.get(tag, (0, 0, 0))
    if kind == _SHORT and count == 1:
        struct.pack_into(page.order + "H", patched, start, value)


def _open(file: BytesIO) -> TiffImageFile:
    """Pillow's reader, which applies the orientation itself: here that of the tag alone, not one in XMP."""
    image = TiffImageFile(file)
    if ORIENTATION not in image.tag_v2:
        image.getexif()[ORIENTATION] = 1
    return image
