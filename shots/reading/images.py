"""Image files of plates by OpenImageIO: EXR, DPX, TIFF, PNG and what else it reads.

What a file says of its colours, its frame number and its rate is not believed: headers of DPX files are often wrong,
and every EXR file is labelled alike, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import OpenImageIO
import simplejpeg
from numpy.typing import NDArray

from shots.errors import ShotError

_RGB: Final = (("R", "G", "B"), ("r", "g", "b"), ("red", "green", "blue"))
_GREY: Final = ("Y", "y", "L", "A", "I")


@dataclass(frozen=True)
class Choice:
    """Which image of a file with several is meant; None takes the first that has colours."""

    layer: str | None = None
    """The part of the channels' names before the colour: `beauty` of `beauty.R`."""
    part: str | None = None
    """The name of a part of the file, or its number from 0 on."""
    view: str | None = None
    """`left` or `right` of a stereo plate."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds."""

    samples: NDArray[Any]
    """[h, w, 3], the pixels of the data window"""
    left: int
    """Column of the data window's first pixel, from the display window's first."""
    top: int
    width: int
    """Of the display window"""
    height: int
    pixel_aspect: float


@dataclass(frozen=True)
class _Part:
    index: int
    name: str
    view: str
    spec: Any


def read_image_file(path: Path, choice: Choice) -> ImageFile:
    """Raises ShotError of code `unreadable`, or `no_such_image` where the file holds nothing as chosen."""
    image = OpenImageIO.ImageInput.open(str(path), _as_stored())
    if image is None:
        raise ShotError("unreadable", f"{path}: {OpenImageIO.geterror() or 'no image'}")
    try:
        part, channels = _chosen(list(_parts(image)), choice, path)
        spec = part.spec
        kind = str(spec.format)
        wanted = {"uint8": "uint8", "half": "half", "float": "float", "double": "float"}.get(kind, "uint16")
        first, last = min(channels), max(channels)
        read = _jpeg(path) if image.format_name() == "jpeg" and channels == [0, 1, 2] else None
        if read is None:
            read = image.read_image(part.index, 0, first, last + 1, wanted)
        if read is None or image.has_error:  # a truncated TIFF file is read as far as it goes
            raise ShotError("unreadable", f"{path}: {image.geterror() or 'its pixels cannot be read'}")
        samples = np.asarray(read)
        if list(channels) != list(range(first, last + 1)):  # a copy channel by channel takes longer than decoding
            samples = np.ascontiguousarray(samples[..., [channel - first for channel in channels]])
    finally:
        image.close()
    aspect = float(spec.get_float_attribute("PixelAspectRatio", 1.0))
    return ImageFile(
        samples,
        spec.x - spec.full_x,
        spec.y - spec.full_y,
        spec.full_width or spec.width,
        spec.full_height or spec.height,
        aspect if aspect > 0 and np.isfinite(aspect) else 1.0,
    )


def _jpeg(path: Path) -> NDArray[np.uint8] | None:
    """The pixels of a JPEG file of three colours: those that OpenImageIO reads, in a seventh less time. None where it
    is of other colours or damaged, for OpenImageIO to say what can be read.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), np.uint8)
    except (OSError, ValueError):
        return None


def _as_stored() -> Any:
    """A request not to multiply colours by alpha."""
    spec = OpenImageIO.ImageSpec()
    spec.attribute("oiio:UnassociatedAlpha", 1)
    return spec


def _parts(image: Any) -> Iterator[_Part]:
    index = 0
    while image.seek_subimage(index, 0):
        spec = image.spec()
        name = spec.get_string_attribute("oiio:subimagename") or spec.get_string_attribute("name")
        yield _Part(index, name, spec.get_string_attribute("view"), spec)
        index += 1
    image.geterror()  # that there is no further part counts as an error, which ends here


def _chosen(parts: Sequence[_Part], choice: Choice, path: Path) -> tuple[_Part, list[int]]:
    """The first part that has what is chosen, and the indices of its three channels."""
    for part in parts:
        if choice.part is not None and choice.part not in (part.name, str(part.index)):
            continue
        if (channels := _channels(part, choice)) is not None:
            return part, channels
    offered = "; ".join(f"part {part.index} {part.name!r}: {', '.join(part.spec.channelnames)}" for part in parts[:8])
    raise ShotError(
        "no_such_image",
        f"{path} holds no colours as chosen (--layer {choice.layer}, --part {choice.part}, "
        f"--stereo-view {choice.view}); it has {offered}",
    )


def _channels(part: _Part, choice: Choice) -> list[int] | None:
    names = list(part.spec.channelnames)
    prefixes = [""]
    if choice.layer is not None:
        prefixes = [f"{choice.layer}."]
    if choice.view is not None and part.view != choice.view:
        # several views in one part: their channels are called right.R or diffuse.right.R
        prefixes = [f"{choice.view}.{prefix}" for prefix in prefixes] + [
            f"{prefix}{choice.view}." for prefix in prefixes
        ]
    elif choice.view is None and choice.layer is None:
        prefixes += sorted({name.rpartition(".")[0] + "." for name in names if name.endswith(".R")})[:1]
    for prefix in prefixes:
        for colours in _RGB:
            if all(prefix + colour in names for colour in colours):
                return [names.index(prefix + colour) for colour in colours]
        for grey in _GREY:
            if prefix + grey in names:
                return [names.index(prefix + grey)] * 3
    return None
