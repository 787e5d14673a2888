"""TIFF files: which of their pages is the image, and whether it is read. Pillow decodes it."""

from __future__ import annotations

import ctypes
import struct
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Final

import PIL._imaging
from PIL.TiffImagePlugin import TiffImageFile

from service.images.header import Source, damaged, unsupported
from service.images.ifd import ORIENTATION, Directory, directories
from service.images.pillow import read_by_pillow

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _BITS, _COMPRESSION, _SAMPLES = 254, 255, 258, 259, 277
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_DNG_VERSION = 50706

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
    description = f"{page.number(_SAMPLES, 1)} channels of {page.number(_BITS, 1)} bits"
    source = read_by_pillow("TIFF", _open, _with_first_page(data, page), description, bits=page.number(_BITS, 1))
    source = replace(source, header=replace(source.header, has_several_images=len(images) > 1))
    if page.number(_BITS) > 8 and page.number(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO:  # Pillow inverts up to 8 bits alone
        return replace(source, decode=lambda: ~source.decode())
    return source


def _is_image(page: Directory) -> bool:
    """Whether the page is the image itself: not one of reduced size (bit 0), nor a mask (bit 2)."""
    return not page.number(_NEW_SUBFILE_TYPE) & 0b101 and page.number(_SUBFILE_TYPE) != 2


def _with_first_page(data: bytes, page: Directory) -> bytes:
    """The file with this page as its first, because Pillow's reader opens that one."""
    is_big = struct.unpack_from(page.order + "H", data, 2)[0] == 43
    start, field = (8, "Q") if is_big else (4, "I")
    offset = struct.pack(page.order + field, page.offset)
    return data if data[start:].startswith(offset) else data[:start] + offset + data[start + len(offset) :]


def _open(file: BytesIO) -> TiffImageFile:
    """Pillow's reader, which applies the orientation itself: here that of the tag alone, not one in XMP."""
    image = TiffImageFile(file)
    if ORIENTATION not in image.tag_v2:
        image.getexif()[ORIENTATION] = 1
    return image
