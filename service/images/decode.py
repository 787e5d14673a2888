"""Image file -> pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final

import cv2
import numpy as np
from PIL.Image import Image as PillowImage

from service.answer import ImageWarning
from service.images.header import ALPHA_MODES, FORMATS, GREY_MODES, Header, damaged, jpeg_is_complete, read_header
from service.images.icc import ColourError, ToSrgb, cmyk_to_srgb, to_srgb, unchanged
from service.images.limits import ImageLimits, check_bytes, check_size
from service.images.pixels import Pixels

FIRST_FRAME_ONLY: Final = ImageWarning("first_frame_only", "the file holds several images: the first was used")
PROFILE_IGNORED: Final = ImageWarning("profile_ignored", "the ICC profile is not usable: colours were taken as sRGB")


@dataclass(frozen=True)
class DecodedImage:
    """An image as it is shown: its EXIF orientation has been applied."""

    pixels: Pixels
    """In the file's own colours, which are those of its ICC profile if it has one."""
    to_srgb: ToSrgb = unchanged
    """Converts `pixels`, or a part of them, to sRGB. To convert all of them would take longer than to decode them."""
    warnings: tuple[ImageWarning, ...] = ()


def decode_image(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decodes an image file. Grey and palette become RGB, alpha is dropped, 16 bits become 8.

    Of several images in a file the first is decoded. Raises ServiceError of kind NOT_AN_IMAGE, UNSUPPORTED_IMAGE,
    DAMAGED_IMAGE, TOO_MANY_BYTES, TOO_MANY_PIXELS or SIDE_TOO_LONG.
    """
    check_bytes(len(data), limits)
    header = read_header(data)
    check_size(header.width, header.height, limits)
    if header.format == "JPEG" and not jpeg_is_complete(data):
        raise damaged(header.format)
    warnings = [FIRST_FRAME_ONLY] if header.has_several_images else []
    try:
        pixels, converter = _decode(data, header)
    except ColourError:
        warnings.append(PROFILE_IGNORED)
        pixels, converter = _decode(data, replace(header, profile=None))
    return DecodedImage(pixels, converter, tuple(warnings))


def decode_srgb(data: bytes, limits: ImageLimits) -> Pixels:
    """The pixels of an image file in sRGB. Raises ServiceError as `decode_image` does."""
    image = decode_image(data, limits)
    return image.to_srgb(image.pixels)


def _decode(data: bytes, header: Header) -> tuple[Pixels, ToSrgb]:
    """The pixels as shown, and what converts them to sRGB. Raises ColourError for a profile that cannot be used."""
    if header.mode == "CMYK" and header.profile is not None:
        profile = header.profile
        return _decode_by_pillow(data, header, lambda image: cmyk_to_srgb(image, profile)), unchanged
    converter = unchanged if header.profile is None else to_srgb(header.profile, header.mode in GREY_MODES)
    if header.format == "TIFF" and header.mode in ALPHA_MODES:  # OpenCV's reader multiplies the colours by the alpha
        return _decode_by_pillow(data, header, lambda image: image.convert("RGB")), converter
    return _decode_by_opencv(data, header), converter


def _decode_by_opencv(data: bytes, header: Header) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise damaged(header.format) from error
    if pixels is None:
        raise damaged(header.format)
    # OpenCV's TIFF reader applies the orientation even with IMREAD_IGNORE_ORIENTATION
    shown = pixels if header.format == "TIFF" else apply_orientation(np.asarray(pixels, np.uint8), header.orientation)
    return np.asarray(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_by_pillow(data: bytes, header: Header, to_rgb: Callable[[PillowImage], PillowImage]) -> Pixels:
    """For the few kinds of file that OpenCV reads wrongly. It takes several times as long."""
    try:
        with FORMATS[header.format].reader(BytesIO(data)) as image:
            pixels = np.asarray(to_rgb(image), np.uint8)
    except ColourError:
        raise
    except Exception as error:  # Pillow's readers raise errors of many types for a damaged file
        raise damaged(header.format) from error
    # Pillow's TIFF reader applies the orientation as well
    return pixels if header.format == "TIFF" else apply_orientation(pixels, header.orientation)


_BY_ORIENTATION: Final[dict[int, Callable[[Pixels], Pixels]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}


def apply_orientation(stored: Pixels, orientation: int) -> Pixels:
    """Pixels as stored [H, W, C] -> as shown, contiguous. `orientation` is EXIF's, 1 to 8."""
    return np.ascontiguousarray(_BY_ORIENTATION[orientation](stored))
