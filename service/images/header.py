"""The header of an image file: its format, size, orientation and colours, read without decoding a pixel.

`FORMATS` is the list of formats that are read. Another format is one more row there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final, NamedTuple

from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image as PillowImage
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import ErrorKind, ServiceError


class Format(NamedTuple):
    """How files of one format are recognised, and Pillow's class that reads them."""

    signature: re.Pattern[bytes]
    """Matches the first bytes of every file of the format."""
    reader: Callable[[BytesIO], ImageFile]
    """Called directly, because `PIL.Image.open` adds a limit of its own and tries every format that it knows."""


FORMATS: Final[Mapping[str, Format]] = {
    "JPEG": Format(re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    "PNG": Format(re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    "WebP": Format(re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    "BMP": Format(re.compile(rb"BM"), BmpImageFile),
    "TIFF": Format(re.compile(rb"II[*+]\x00|MM\x00[*+]"), TiffImageFile),
}

GREY_MODES: Final = ("1", "L", "LA", "I", "I;16", "I;16B")
ALPHA_MODES: Final = ("RGBA", "RGBa", "RGBX")
"""Pillow's modes of an image with one channel, and of an RGB image with an alpha channel."""

_UNSUPPORTED_MODES: Final = ("F", "LAB", "HSV")
_ORIENTATION_TAG: Final = 0x0112


@dataclass(frozen=True)
class Header:
    """What an image file states about itself."""

    format: str
    """A key of FORMATS."""
    width: int
    """Pixels, as stored: before the EXIF orientation is applied."""
    height: int
    """Pixels, as `width`."""
    orientation: int
    """The EXIF orientation, 1 to 8."""
    mode: str
    """Pillow's name for the channels: "L", "RGB", "CMYK", ..."""
    profile: bytes | None
    """The embedded ICC profile, if there is one."""
    has_several_images: bool


def read_header(data: bytes) -> Header:
    """Raises ServiceError of kind NOT_AN_IMAGE, DAMAGED_IMAGE or UNSUPPORTED_IMAGE."""
    for name, form in FORMATS.items():
        if form.signature.match(data):
            return _read(name, form.reader, data)
    problem = "these bytes are not an image that is read here" if data else "the file is empty"
    raise ServiceError(ErrorKind.NOT_AN_IMAGE, f"{problem}; send a JPEG, PNG, WebP, BMP or TIFF file")


def _read(name: str, reader: Callable[[BytesIO], ImageFile], data: bytes) -> Header:
    try:
        with reader(BytesIO(data)) as image:
            width, height = image.size
            # the method of the base class, because PNG's own decodes the image in search of EXIF data behind it
            orientation = PillowImage.getexif(image).get(_ORIENTATION_TAG, 1)
            mode, profile = image.mode, image.info.get("icc_profile")
            several = getattr(image, "is_animated", False) or "mp" in image.info
    except Exception as error:  # Pillow's readers raise errors of many types for a damaged header
        raise _unsupported(name) if "pixel mode" in str(error) else damaged(name) from error
    if mode in _UNSUPPORTED_MODES or (mode == "I" and name == "TIFF"):  # "I" of a TIFF is integers of 32 bits
        raise _unsupported(name)
    return Header(name, width, height, orientation if orientation in range(1, 9) else 1, mode, profile, several)


def damaged(name: str) -> ServiceError:
    """The error for a file of the format `name` that cannot be decoded."""
    return ServiceError(
        ErrorKind.DAMAGED_IMAGE, f"the {name} file is truncated or damaged; check that it opens, and send all of it"
    )


def _unsupported(name: str) -> ServiceError:
    return ServiceError(
        ErrorKind.UNSUPPORTED_IMAGE,
        f"the {name} file has pixels of a kind that is not read; save it with 8 or 16 bits as RGB, grey or CMYK",
    )


# a marker that is not a stuffed byte, a restart or padding
_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_END_OF_IMAGE: Final = b"\xd9"


def jpeg_is_complete(data: bytes) -> bool:
    """Whether a JPEG file reaches its end-of-image marker. Decoders fill in grey what is missing before it.

    A plain search could find the end of an embedded thumbnail. Hence the segments are walked through one by one, except
    in files that end with the marker, as nearly all do.
    """
    if data.endswith(b"\xff" + _END_OF_IMAGE):
        return True
    position = 2
    while marker := _MARKER.search(data, position):
        if marker[1] == _END_OF_IMAGE:
            return True
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        position = marker.end() + max(length, 2)
    return False
