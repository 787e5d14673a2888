"""The faces of one frame, each frame by itself, so that the same image has the same answer whatever was before it.

Only what is looked at is converted to screen colours. A frame that is not larger than the image in which faces are
searched is looked at as a whole. Of a larger one a reduced image is searched, and then a part about each face in it at
its own resolution gives the points.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from shots.reading.colour import Colour, Shown
from shots.reading.picture import Samples

Box: TypeAlias = tuple[float, float, float, float]


class Answer(NamedTuple):
    """One face, in pixels of the image that was asked about."""

    box: NDArray[np.floating[Any]]
    """[4] x1, y1, x2, y2"""
    score: float
    points: NDArray[np.floating[Any]]
    """[P, 2]"""
    covariances: NDArray[np.floating[Any]]
    """[P, 3] xx, xy, yy"""


Ask: TypeAlias = Callable[[bytes, Box | None], Awaitable[list[Answer]]]
"""Image file -> its faces; with a box, the one face in it."""

_MARGIN: Final = 1.1
"""Half a side of the part about a face, in longer sides of its box: the crop of the network and that of a second pass
lie in it.
"""
_MAX_PART: Final = 1536
"""Pixels along a side beyond which a part is reduced: the network's crop has 256."""


async def find(samples: Samples, colour: Colour, ask: Ask, search_size: int) -> list[Answer]:
    """The faces in a picture [H, W, 3], in its pixels. `search_size`: longest side of the image that is searched."""
    longest = max(samples.shape[:2])
    if longest <= search_size:
        return await ask(png(colour.shown(samples)), None)
    small, factors = _reduced(samples, search_size / longest)
    faces = []
    for found in await ask(png(colour.shown(small)), None):
        faces += await _again(samples, colour, ask, (found.box.reshape(2, 2) + 0.5) / factors - 0.5)
    return faces


async def _again(samples: Samples, colour: Colour, ask: Ask, box: NDArray[np.float64]) -> list[Answer]:
    """The face of a box [2, 2], from a part of the picture."""
    centre, reach = box.mean(axis=0), _MARGIN * float((box[1] - box[0]).max())
    height, width = samples.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]))
    right, bottom = (int(v) for v in np.clip(np.ceil(centre + reach) + 1, [left + 1, top + 1], [width, height]))
    part = samples[top:bottom, left:right]
    small, factors = _reduced(part, min(1.0, _MAX_PART / max(part.shape[:2])))
    own = (box - [left, top] + 0.5) * factors - 0.5
    x1, y1, x2, y2 = own.ravel().tolist()
    origin = np.array([left, top], np.float64)
    return [
        Answer(
            box.ravel(),
            each.score,
            (each.points + 0.5) / factors - 0.5 + origin,
            each.covariances / [factors[0] ** 2, factors[0] * factors[1], factors[1] ** 2],
        )
        for each in await ask(png(colour.shown(small)), (x1, y1, x2, y2))
    ]


def _reduced(samples: Samples, scale: float) -> tuple[Samples, NDArray[np.float64]]:
    """The picture reduced by about this factor, and the exact factors of x and y."""
    height, width = samples.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale >= 1:
        return samples, np.ones(2)
    floats = samples.astype(np.float32) if samples.dtype == np.float16 else samples  # OpenCV has no halves
    reduced = cv2.resize(floats, size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, samples.dtype), np.array([size[0] / width, size[1] / height])


def png(image: Shown) -> bytes:
    """A PNG file, hardly compressed: it is read again at once."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()
