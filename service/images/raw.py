"""Pixels without a file around them, as programs that decode a plate themselves have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import ErrorKind, ServiceError
from service.images.bands import in_bands
from service.images.header import Header, Source
from service.images.limits import ImageLimits, check_bytes, check_size
from service.images.pixels import Pixels
from shots.reading.colour import BuiltIn

_TYPES: Final[Mapping[str, str]] = {"uint8": "u1", "uint16": "<u2", "half": "<f2", "float": "<f4"}
"""NumPy's names of the sample types."""
_CHANNELS: Final = (1, 3, 4)
_COLOUR_SPACES: Final = {None: None, "srgb": False, "linear": True}
"""Whether samples are linear; None: by their type."""
_BYTES_PER_PIXEL: Final = 3
"""Of the result; a band is converted at a time."""


@dataclass(frozen=True)
class RawImage:
    """Rows of pixels, the top one first."""

    width: int
    height: int
    samples: bytes
    channels: int = 3
    type: str = "uint8"
    stride: int | None = None
    """Bytes from the beginning of a row to that of the next; None where there is nothing between them."""
    colour_space: str | None = None
    """None: "linear" for floating-point numbers, "srgb" for integers."""
    planar: bool = False
    """Whether the rows of each channel follow those of the one before; else a row has the channels of its pixels."""

    @classmethod
    def of(cls, pixels: Pixels) -> RawImage:
        """The image of RGB pixels [H, W, 3]."""
        height, width = pixels.shape[:2]
        # NumPy's tobytes of a part of a picture would take 20 times as long
        return cls(width, height, np.ascontiguousarray(pixels).tobytes())

    def __len__(self) -> int:
        """Bytes, as of an image file."""
        return len(self.samples)


def read_raw(raw: RawImage, limits: ImageLimits) -> Source:
    """Raises ServiceError of kind INVALID_REQUEST where the numbers do not fit together, and of TOO_MANY_BYTES,
    TOO_MANY_PIXELS or SIDE_TOO_LONG.
    """
    check_bytes(len(raw), limits)
    if raw.type not in _TYPES:
        raise _invalid(f"type {raw.type[:40]!r} is none of {', '.join(_TYPES)}")
    if raw.channels not in _CHANNELS:
        raise _invalid(f"{raw.channels} channels are none of 1 (grey), 3 (RGB) and 4 (RGB and alpha)")
    if raw.colour_space not in _COLOUR_SPACES:
        raise _invalid(f"colour_space {str(raw.colour_space)[:40]!r} is neither 'srgb' nor 'linear'")
    if not raw.width or not raw.height:
        raise _invalid("a raw image needs width and height")
    check_size(raw.width, raw.height, limits)
    per_row, rows = (1, raw.height * raw.channels) if raw.planar else (raw.channels, raw.height)
    row = raw.width * per_row * np.dtype(_TYPES[raw.type]).itemsize
    stride = row if raw.stride is None else raw.stride
    if stride < row:
        raise _invalid(f"stride is {stride} bytes, and a row has {row}")
    least, most = stride * (rows - 1) + row, stride * rows
    if not least <= len(raw) <= most:
        raise _invalid(f"{len(raw)} bytes of samples: {rows} rows of {stride} bytes are {least} to {most}")
    colour = BuiltIn(is_linear=_COLOUR_SPACES[raw.colour_space])
    return Source(Header("raw", raw.width, raw.height), lambda: _decoded(raw, stride, colour), _BYTES_PER_PIXEL)


def _decoded(raw: RawImage, stride: int, colour: BuiltIn) -> Pixels:
    stored = _view(raw, stride)

    def band(top: int, bottom: int) -> Any:
        shown = colour.shown(stored[top:bottom, :, :3])
        return np.broadcast_to(shown, (*shown.shape[:2], 3))

    return in_bands((raw.width, raw.height), 3, band)


def _view(raw: RawImage, stride: int) -> NDArray[Any]:
    """The samples [H, W, C] where they are."""
    dtype = np.dtype(_TYPES[raw.type])
    pixel, channel = dtype.itemsize, stride * raw.height
    if not raw.planar:
        pixel, channel = raw.channels * dtype.itemsize, dtype.itemsize
    return np.ndarray(
        (raw.height, raw.width, raw.channels),
        dtype,
        raw.samples,
        strides=(stride, pixel, channel),
    )


def _invalid(message: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_REQUEST, message)
