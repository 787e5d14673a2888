"""What the header of an image file says, and the errors for files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.errors import ErrorKind, ServiceError
from service.images.pixels import Pixels

Colors = Literal["grey", "rgb", "cmyk"]


@dataclass(frozen=True)
class Header:
    """What an image file says of itself. Reading it decodes no pixel."""

    format: str
    """As messages name it: "JPEG", "PNG", ..."""
    width: int
    """Pixels, as stored: before the orientation is applied."""
    height: int
    """Pixels, as `width`."""
    colors: Colors = "rgb"
    orientation: int = 1
    """The EXIF orientation, 1 to 8. Only from where browsers look for it: never from XMP."""
    profile: bytes | None = None
    """The embedded ICC profile, if there is one; empty for one that is cut off or too large to be read."""
    has_several_images: bool = False
    """Several images to be looked at: thumbnails and gain maps do not count."""


@dataclass(frozen=True)
class Source:
    """An image file whose header has been read."""

    header: Header
    decode: Callable[[], Pixels]
    """The pixels as stored: RGB [H, W, 3], or CMYK [H, W, 4] with 255 for full ink. Raises ServiceError."""
    bytes_per_pixel: int
    """Most memory that decoding takes for each pixel, the result with it, as RGB and as stored. Measured:
    docs/decisions/0041."""


def damaged(name: str) -> ServiceError:
    """The error for a file of the format `name` that cannot be decoded, or not without errors."""
    return ServiceError(
        ErrorKind.DAMAGED_IMAGE, f"the {name} file is truncated or damaged; check that it opens, and send all of it"
    )


def unsupported(name: str, what: str) -> ServiceError:
    """The error for a file of the format `name` that may be sound, but of a kind that is not read: `what` it has."""
    return ServiceError(
        ErrorKind.UNSUPPORTED_IMAGE,
        f"the {name} file has {what}, which is not read; save it as a JPEG or PNG file with 8 bits per channel",
    )
