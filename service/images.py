"""Encoded image -> pixels, with every limit checked on the file's header before a pixel is decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image as PillowImage
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import ErrorKind, ServiceError

Image = NDArray[np.uint8]
"""RGB [height, width, 3]."""


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that is decoded: of its file in bytes, and of its picture in pixels."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `orientation` is EXIF's, 1 to 8; `format` is "JPEG", "PNG", ..."""

    format: str
    width: int
    height: int
    orientation: int


_ORIENTATION_TAG: Final = 0x0112

# The reader's class is called directly: Image.open would add a limit of its own and try every format it knows.
_READERS: Final[tuple[tuple[re.Pattern[bytes], str, Callable[[BytesIO], ImageFile]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG", JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP", WebPImageFile),
    (re.compile(rb"BM"), "BMP", BmpImageFile),
    (re.compile(rb"II\*\x00|MM\x00\*"), "TIFF", TiffImageFile),
)


def decode_image(data: bytes, limits: ImageLimits) -> Image:
    """The picture as shown: RGB uint8 [height, width, 3], turned as its EXIF orientation says.

    Grey becomes RGB, alpha is dropped, 16 bits become 8. Raises ServiceError of kind NOT_AN_IMAGE, DAMAGED_IMAGE,
    TOO_MANY_BYTES or TOO_MANY_PIXELS.
    """
    check_bytes(len(data), limits)
    header = read_header(data)
    if header.width * header.height > limits.max_pixels:
        raise ServiceError(
            ErrorKind.TOO_MANY_PIXELS,
            f"the image has {header.width} x {header.height} pixels, at most {limits.max_pixels} are read: shrink it",
        )
    if header.format == "JPEG" and not jpeg_is_complete(data):
        raise _damaged(header.format)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _damaged(header.format) from error
    if pixels is None:
        raise _damaged(header.format)
    # OpenCV's TIFF reader turns the picture itself, whatever it is told
    shown = pixels if header.format == "TIFF" else upright(np.asarray(pixels, np.uint8), header.orientation)
    return np.asarray(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB), np.uint8)


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Raises ServiceError of kind TOO_MANY_BYTES for a file of `size` bytes that is over the limit."""
    if size > limits.max_bytes:
        raise too_many_bytes(limits.max_bytes)


def too_many_bytes(limit: int) -> ServiceError:
    return ServiceError(ErrorKind.TOO_MANY_BYTES, f"the image file has more than {limit} bytes; compress or shrink it")


def read_header(data: bytes) -> Header:
    """Format, size as stored and orientation, without decoding. Raises ServiceError as `decode_image` does."""
    for signature, name, reader in _READERS:
        if signature.match(data):
            return _read(name, reader, data)
    raise ServiceError(
        ErrorKind.NOT_AN_IMAGE,
        "these bytes are not an image that is read here; send a JPEG, PNG, WebP, BMP or TIFF file",
    )


def _read(name: str, reader: Callable[[BytesIO], ImageFile], data: bytes) -> Header:
    try:
        with reader(BytesIO(data)) as image:
            width, height = image.size
            # the base class's, as PNG's own would decode the picture in search of EXIF behind it
            orientation = PillowImage.getexif(image).get(_ORIENTATION_TAG, 1)
    except Exception as error:  # a damaged header makes the readers raise nearly anything
        raise _damaged(name) from error
    return Header(name, width, height, orientation if orientation in _UPRIGHT else 1)


def _damaged(name: str) -> ServiceError:
    return ServiceError(
        ErrorKind.DAMAGED_IMAGE, f"the {name} file is truncated or damaged; check that it opens, and send all of it"
    )


# a marker that is not a stuffed byte, a restart or padding
_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_END_OF_IMAGE: Final = b"\xd9"


def jpeg_is_complete(data: bytes) -> bool:
    """Whether a JPEG file reaches its end-of-image marker.

    Decoders fill what is missing with grey. A plain search would find the end of an embedded thumbnail, so this walks
    over the segments, unless the file ends as nearly all do.
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


_UPRIGHT: Final[dict[int, Callable[[Image], Image]]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}


def upright(image: Image, orientation: int) -> Image:
    """The stored picture [H, W, C] as EXIF orientation 1 to 8 says it is shown, contiguous."""
    return np.ascontiguousarray(_UPRIGHT[orientation](image))
