"""The largest image that is decoded. Every limit is checked before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.errors import ErrorKind, ServiceError

DEFAULT_MAX_SIDE: Final = 30_000
"""Pixels."""
OPENCV_MAX_SIDE: Final = 32_766
"""Pixels. OpenCV cannot crop an image with a longer side."""


@dataclass(frozen=True)
class ImageLimits:
    """The most bytes of an image file, and the most pixels of its image: in all, and along a side."""

    max_bytes: int
    max_pixels: int
    max_side: int = DEFAULT_MAX_SIDE


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Raises ServiceError of kind TOO_MANY_BYTES for a file of `size` bytes when that is over the limit."""
    if size > limits.max_bytes:
        raise ServiceError(
            ErrorKind.TOO_MANY_BYTES, f"the image file has more than {limits.max_bytes} bytes; compress or shrink it"
        )


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Raises ServiceError of kind TOO_MANY_PIXELS or SIDE_TOO_LONG for an image that is over a limit."""
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
