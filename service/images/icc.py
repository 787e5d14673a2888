"""Embedded ICC profiles: pixels in a file's own colours -> sRGB, which the networks were trained in."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

Pixels = NDArray[np.uint8]
"""RGB [height, width, 3]."""
ToSrgb = Callable[[Pixels], Pixels]

CHANNELS: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for the colour space that a profile says it is for."""


class ColourError(ValueError):
    """A profile cannot be used; the message says why."""


def unchanged(pixels: Pixels) -> Pixels:
    return pixels


@lru_cache(maxsize=8)
def to_srgb(profile: bytes, grey: bool) -> ToSrgb:
    """What turns RGB pixels of a file with this profile into sRGB: `unchanged` where they are sRGB already.

    `grey`: the file has one channel, which its RGB pixels repeat. Raises ColourError.
    """
    space, transform = _transform(profile)
    if space == "CMYK" or (space == "L" and not grey):
        raise ColourError(f"a profile for {space} in a file of {'grey' if grey else 'RGB'} pixels")

    def apply(pixels: Pixels) -> Pixels:
        channels = pixels if space == "RGB" else np.ascontiguousarray(pixels[..., 0])
        converted: Pixels = np.asarray(ImageCms.applyTransform(Pillow.fromarray(channels), transform), np.uint8)
        return converted

    samples = _samples(grey)
    change = int(np.abs(apply(samples).astype(int) - samples).max())
    return unchanged if change <= 1 else apply


def cmyk_to_srgb(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    """A CMYK picture in the colours that its profile gives the inks. Raises ColourError."""
    space, transform = _transform(profile)
    if space != "CMYK":
        raise ColourError(f"a profile for {space} in a file of CMYK pixels")
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None, "only a transform in place returns nothing"
    return converted


def _transform(profile: bytes) -> tuple[str, Any]:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = CHANNELS[source.profile.xcolor_space.strip()]
        return space, ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            space,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError) as error:
        raise ColourError(f"not a usable profile: {error}") from error


def _samples(grey: bool) -> Pixels:
    """Colours from all over the cube, [1, N, 3]; greys alone for a grey picture."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    if grey:
        return np.repeat(levels[None, :, None], 3, axis=2)
    colours: Pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return colours
