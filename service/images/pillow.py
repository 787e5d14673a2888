"""BMP, GIF, TIFF, AVIF and HEIC files: header and pixels by Pillow's readers."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Final

import numpy as np
import PIL.AvifImagePlugin
import PIL.Image
import pillow_heif.options
from PIL.ImageFile import ImageFile

from service.errors import ServiceError
from service.images.bands import in_bands
from service.images.header import Header, Source, damaged, unsupported
from service.images.ifd import exif_orientation
from service.images.pixels import Pixels

Reader = Callable[[BytesIO], ImageFile]
"""A reader's class, called directly: `PIL.Image.open` tries every format that it knows."""

# `service.images.limits` holds instead
PIL.Image.MAX_IMAGE_PIXELS = None

# what is wrong with a client's image is in the answer, and not for the log
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# images are decoded in several threads already
PIL.AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1

_RARE: Final = "pixels or a compression of a rare kind"
_NOT_READ: Final = re.compile("unsupported|unknown pixel mode|samples per pixel", re.IGNORECASE)
_GREY_MODES: Final = ("1", "L", "LA", "I;16", "I;16B", "I;16L")
_UNSUPPORTED_MODES: Final = {"F": "floating-point pixels", "I": "integers of 32 bits", "LAB": "Lab colours"}
"""Pillow's names for pixels: those of one channel, and those that are not read."""


def read_by_pillow(name: str, reader: Reader, data: bytes | bytearray, kind: str = _RARE, *, bits: int = 16) -> Source:
    """Raises ServiceError of kind DAMAGED_IMAGE, or of UNSUPPORTED_IMAGE with a message that names the `kind`.

    `bits` is the number of bits of a pixel where Pillow's mode has 16.
    """
    try:
        image = reader(BytesIO(data))
        width, height = image.size
        # not `getexif`, which reads XMP as well; the readers of AVIF and HEIC put the rotation of the container here
        orientation = exif_orientation(image.info.get("exif") or b"")
        several = bool(getattr(image, "is_animated", False))
    except Exception as error:  # Pillow's readers raise errors of many types for a damaged header
        raise _error(name, kind, error) from error
    if image.mode in _UNSUPPORTED_MODES:
        raise unsupported(name, _UNSUPPORTED_MODES[image.mode])
    header = Header(
        name,
        width,
        height,
        "cmyk" if image.mode == "CMYK" else "grey" if image.mode in _GREY_MODES else "rgb",
        orientation,
        image.info.get("icc_profile"),
        several,
    )
    return Source(header, lambda: _decode(name, image, kind, bits), _bytes_per_pixel(name, image))


def _bytes_per_pixel(name: str, image: ImageFile) -> int:
    """Pillow's image of up to 4 bytes, the result, and what the format's library has of its own."""
    if image.mode == "CMYK":
        return 12
    has_more_bits = image.info.get("bit_depth", 8) > 8
    return {"GIF": 6, "BMP": 8, "TIFF": 9, "AVIF": 20, "HEIC": 20 if has_more_bits else 12}[name]


def _decode(name: str, image: ImageFile, kind: str, bits: int) -> Pixels:
    try:
        with image:
            image.load()
            size, channels = image.size, 4 if image.mode == "CMYK" else 3
            return in_bands(size, channels, lambda top, bottom: _rows(image.crop((0, top, size[0], bottom)), bits))
    except Exception as error:  # as in read_by_pillow
        raise _error(name, kind, error) from error


def _rows(image: PIL.Image.Image, bits: int) -> Pixels:
    if image.mode.startswith("I;16"):
        grey: Pixels = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image if image.mode in ("RGB", "CMYK") else image.convert("RGB"), np.uint8)


def _error(name: str, kind: str, error: Exception) -> ServiceError:
    return unsupported(name, kind) if isinstance(error, KeyError) or _NOT_READ.search(str(error)) else damaged(name)
