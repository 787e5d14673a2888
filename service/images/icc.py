"""Embedded ICC profiles: pixels in the colours of a file -> sRGB, in which the networks were trained.

A profile is read anew for each image, in 3 ms of CPU time: a file's profile can tell whose it is, and none is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from service.images.pixels import Pixels

ToSrgb = Callable[[Pixels], Pixels]

PILLOW_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for each colour space that a profile may be for."""


class ColourError(ValueError):
    """A profile cannot be used; the message says why."""


def unchanged(pixels: Pixels) -> Pixels:
    """The conversion of pixels that are in sRGB already."""
    return pixels


def to_srgb(profile: bytes, grey: bool) -> ToSrgb:
    """The function that converts RGB pixels of a file with this profile to sRGB; `unchanged` for an sRGB profile.

    `grey` says that the file has one channel, so that all three of its RGB pixels are equal. Raises ColourError.
    """
    mode, transform = _transform(profile)
    if mode == "CMYK" or (mode == "L" and not grey):
        raise ColourError(f"a profile for {mode} in a file of {'grey' if grey else 'RGB'} pixels")

    def convert(pixels: Pixels) -> Pixels:
        channels = pixels if mode == "RGB" else np.ascontiguousarray(pixels[..., 0])
        converted: Pixels = np.asarray(ImageCms.applyTransform(Pillow.fromarray(channels), transform), np.uint8)
        return converted

    samples = _samples(grey)
    largest_change = int(np.abs(convert(samples).astype(int) - samples).max())
    return unchanged if largest_change <= 1 else convert


def cmyk_to_rgb(inks: Pixels) -> Pixels:
    """Inks [H, W, 4] of a file without a profile -> RGB."""
    return np.asarray(Pillow.fromarray(inks, "CMYK").convert("RGB"), np.uint8)


def cmyk_to_srgb(profile: bytes) -> ToSrgb:
    """The function that converts inks [H, W, 4] to the colours that the profile defines. Raises ColourError."""
    mode, transform = _transform(profile)
    if mode != "CMYK":
        raise ColourError(f"a profile for {mode} in a file of CMYK pixels")

    def convert(inks: Pixels) -> Pixels:
        return np.asarray(ImageCms.applyTransform(Pillow.fromarray(inks, "CMYK"), transform), np.uint8)

    return convert


def _transform(profile: bytes) -> tuple[str, Any]:
    """Pillow's mode of the pixels that the profile is for, and its transform to sRGB. Raises ColourError."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = PILLOW_MODES[source.profile.xcolor_space.strip()]
        return mode, ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError) as error:
        raise ColourError(f"not a usable profile: {error}") from error


def _samples(grey: bool) -> Pixels:
    """Colours spread over the whole RGB cube, [1, N, 3]; shades of grey alone for a grey file."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    if grey:
        return np.repeat(levels[None, :, None], 3, axis=2)
    colours: Pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return colours
