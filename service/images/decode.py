"""Encoded image -> pixels, with every limit checked on the file's header before a pixel is decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
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

from service.answer import ImageWarning
from service.errors import ErrorKind, ServiceError
from service.images.icc import ColourError, ToSrgb, cmyk_to_srgb, to_srgb, unchanged

Image = NDArray[np.uint8]
"""RGB [height, width, 3]."""

MAX_SIDE: Final = 30_000
"""Pixels. OpenCV crops nothing that is longer than 32,766."""


@dataclass(frozen=True)
class ImageLimits:
    """The largest image that is decoded: bytes of its file, pixels of its picture, in all and along a side."""

    max_bytes: int
    max_pixels: int
    max_side: int = MAX_SIDE


@dataclass(frozen=True)
class Picture:
    """A decoded file: the picture as shown, turned as its EXIF orientation says."""

    pixels: Image
    """RGB in the file's own colours: those of its ICC profile, if it has one."""
    to_srgb: ToSrgb = unchanged
    """Turns `pixels`, or a part of them, into sRGB: converting all of them would cost more than decoding did."""
    warnings: tuple[ImageWarning, ...] = ()


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `orientation` is EXIF's, 1 to 8; `format` is "JPEG", "PNG", ..."""

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    """Pillow's word for the channels: "L", "RGB", "CMYK", ..."""
    profile: bytes | None
    """The embedded ICC profile."""
    several: bool
    """Whether the file holds more than one picture."""


FIRST_FRAME_ONLY: Final = ImageWarning("first_frame_only", "the file holds several pictures: the first was used")
PROFILE_IGNORED: Final = ImageWarning("profile_ignored", "the ICC profile is not usable: colours were taken as sRGB")

_ORIENTATION_TAG: Final = 0x0112

# The reader's class is called directly: Image.open would add a limit of its own and try every format it knows.
_READERS: Final[tuple[tuple[re.Pattern[bytes], str, Callable[[BytesIO], ImageFile]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG", JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP", WebPImageFile),
    (re.compile(rb"BM"), "BMP", BmpImageFile),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), "TIFF", TiffImageFile),
)


def decode_image(data: bytes, limits: ImageLimits) -> Image:
    """The picture as shown, in sRGB: uint8 [height, width, 3]. Raises as `read_picture` does."""
    picture = read_picture(data, limits)
    return picture.to_srgb(picture.pixels)


def read_picture(data: bytes, limits: ImageLimits) -> Picture:
    """Grey and palette become RGB, alpha is dropped, 16 bits become 8; of several pictures the first is read.

    Raises ServiceError of kind NOT_AN_IMAGE, UNSUPPORTED_IMAGE, DAMAGED_IMAGE, TOO_MANY_BYTES, TOO_MANY_PIXELS or
    SIDE_TOO_LONG.
    """
    check_bytes(len(data), limits)
    header = read_header(data)
    check_size(header.width, header.height, limits)
    if header.format == "JPEG" and not jpeg_is_complete(data):
        raise _damaged(header.format)
    warnings = [FIRST_FRAME_ONLY] if header.several else []
    try:
        pixels, to_srgb = _decoded(data, header)
    except ColourError:
        warnings.append(PROFILE_IGNORED)
        pixels, to_srgb = _decoded(data, replace(header, profile=None))
    return Picture(pixels, to_srgb, tuple(warnings))


def _decoded(data: bytes, header: Header) -> tuple[Image, ToSrgb]:
    """The picture as shown, and what turns it into sRGB. Raises ColourError for a profile that cannot be used."""
    if header.mode == "CMYK" and header.profile is not None:
        profile = header.profile
        return _by_pillow(data, header, lambda picture: cmyk_to_srgb(picture, profile)), unchanged
    converted = unchanged if header.profile is None else to_srgb(header.profile, header.mode in _GREY)
    if header.format == "TIFF" and header.mode in _WITH_ALPHA:  # OpenCV's reader multiplies colours by the alpha
        return _by_pillow(data, header, lambda picture: picture.convert("RGB")), converted
    return _by_opencv(data, header), converted


def _by_opencv(data: bytes, header: Header) -> Image:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _damaged(header.format) from error
    if pixels is None:
        raise _damaged(header.format)
    # OpenCV's TIFF reader turns the picture itself, whatever it is told
    shown = pixels if header.format == "TIFF" else upright(np.asarray(pixels, np.uint8), header.orientation)
    return np.asarray(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB), np.uint8)


def _by_pillow(data: bytes, header: Header, to_rgb: Callable[[PillowImage], PillowImage]) -> Image:
    """For the few kinds of file that OpenCV reads wrongly: it takes several times as long."""
    reader = next(reader for _, name, reader in _READERS if name == header.format)
    try:
        with reader(BytesIO(data)) as picture:
            pixels = np.asarray(to_rgb(picture), np.uint8)
    except ColourError:
        raise
    except Exception as error:  # what is damaged makes the readers raise nearly anything
        raise _damaged(header.format) from error
    # so does Pillow's TIFF reader
    return pixels if header.format == "TIFF" else upright(pixels, header.orientation)


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Raises ServiceError of kind TOO_MANY_PIXELS or SIDE_TOO_LONG for a picture that is over a limit."""
    if width * height > limits.max_pixels:
        raise ServiceError(
            ErrorKind.TOO_MANY_PIXELS,
            f"the image has {width} x {height} pixels, at most {limits.max_pixels} are read: shrink it",
        )
    if max(width, height) > limits.max_side:
        raise ServiceError(
            ErrorKind.SIDE_TOO_LONG,
            f"the image has {width} x {height} pixels, at most {limits.max_side} along a side: shrink or cut it",
        )


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
    what = "these bytes are not an image that is read here" if data else "the file is empty"
    raise ServiceError(ErrorKind.NOT_AN_IMAGE, f"{what}; send a JPEG, PNG, WebP, BMP or TIFF file")


def _read(name: str, reader: Callable[[BytesIO], ImageFile], data: bytes) -> Header:
    try:
        with reader(BytesIO(data)) as image:
            width, height = image.size
            # the base class's, as PNG's own would decode the picture in search of EXIF behind it
            orientation = PillowImage.getexif(image).get(_ORIENTATION_TAG, 1)
            mode, profile = image.mode, image.info.get("icc_profile")
            several = getattr(image, "is_animated", False) or "mp" in image.info
    except Exception as error:  # a damaged header makes the readers raise nearly anything
        raise _unsupported(name) if "pixel mode" in str(error) else _damaged(name) from error
    if mode in _UNREAD or (mode == "I" and name == "TIFF"):
        raise _unsupported(name)
    return Header(name, width, height, orientation if orientation in _UPRIGHT else 1, mode, profile, several)


_GREY: Final = ("1", "L", "LA", "I", "I;16", "I;16B")
_WITH_ALPHA: Final = ("RGBA", "RGBa", "RGBX")
_UNREAD: Final = ("F", "LAB", "HSV")
"""Pillow's words for kinds of pixels that are refused, as are whole numbers of 32 bits."""


def _damaged(name: str) -> ServiceError:
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
