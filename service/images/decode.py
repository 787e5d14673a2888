"""Image file -> pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.answer import ImageWarning
from service.images.bands import in_bands
from service.images.formats import open_image
from service.images.header import Header, Source
from service.images.icc import ColourError, ToSrgb, cmyk_to_rgb, cmyk_to_srgb, to_srgb, unchanged
from service.images.limits import ImageLimits, check_bytes, check_size
from service.images.pixels import Pixels

FIRST_FRAME_ONLY: Final = ImageWarning("first_frame_only", "the file holds several images: the first was used")
PROFILE_IGNORED: Final = ImageWarning("profile_ignored", "the ICC profile is not usable: colours were taken as sRGB")

_RGB: Final = 3
"""Bytes of a pixel of an RGB image, of which the orientation makes a second one."""
_FILE_COPIES: Final = 2
"""Copies of a file that some readers make: its essential parts, and those as one."""


@dataclass(frozen=True)
class DecodedImage:
    """An image as it is shown: its EXIF orientation has been applied."""

    pixels: Pixels
    """In the file's own colours, which are those of its ICC profile if it has one."""
    to_srgb: ToSrgb = unchanged
    """Converts `pixels`, or a part of them, to sRGB. To convert all of them would take longer than to decode them."""
    warnings: tuple[ImageWarning, ...] = ()


def decode_image(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decodes an image file. Raises ServiceError as `read_header` and `decode_source` do."""
    return decode_source(read_header(data, limits), limits)


def read_header(data: bytes, limits: ImageLimits) -> Source:
    """An image file of which no pixel is decoded yet. Raises ServiceError of kind NOT_AN_IMAGE, UNSUPPORTED_IMAGE,
    DAMAGED_IMAGE, TOO_MANY_BYTES, TOO_MANY_PIXELS or SIDE_TOO_LONG.
    """
    check_bytes(len(data), limits)
    source = open_image(data)
    check_size(source.header.width, source.header.height, limits)
    return source


def decoding_bytes(source: Source, size: int) -> int:
    """Most bytes of memory that `decode_source` takes, for a file of `size` bytes."""
    header = source.header
    turned = 0 if header.orientation == 1 else _RGB
    return header.width * header.height * (source.bytes_per_pixel + turned) + _FILE_COPIES * size


def decode_source(source: Source, limits: ImageLimits) -> DecodedImage:
    """Decodes an image file. Grey and palette become RGB, alpha is dropped, 16 bits become 8.

    Of several images in a file the first is decoded. Raises ServiceError of kind UNSUPPORTED_IMAGE, DAMAGED_IMAGE,
    TOO_MANY_PIXELS or SIDE_TOO_LONG.
    """
    header = source.header
    warnings = [FIRST_FRAME_ONLY] if header.has_several_images else []
    stored = source.decode()
    check_size(stored.shape[1], stored.shape[0], limits)  # a container may state another size than the image in it
    try:
        pixels, converter = _to_rgb(stored, header)
    except ColourError:
        warnings.append(PROFILE_IGNORED)
        pixels, converter = _to_rgb(stored, replace(header, profile=None))
    del stored  # before the orientation makes another copy
    return DecodedImage(apply_orientation(pixels, header.orientation), converter, tuple(warnings))


def decode_srgb(data: bytes, limits: ImageLimits) -> Pixels:
    """The pixels of an image file in sRGB. Raises ServiceError as `decode_image` does."""
    image = decode_image(data, limits)
    return image.to_srgb(image.pixels)


def _to_rgb(stored: Pixels, header: Header) -> tuple[Pixels, ToSrgb]:
    """RGB pixels, and what converts them to sRGB. Raises ColourError for a profile that cannot be used."""
    if header.colors == "cmyk":
        convert = cmyk_to_rgb if header.profile is None else cmyk_to_srgb(header.profile)
        size = stored.shape[1], stored.shape[0]
        return in_bands(size, 3, lambda top, bottom: convert(stored[top:bottom])), unchanged
    return stored, unchanged if header.profile is None else to_srgb(header.profile, header.colors == "grey")


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
