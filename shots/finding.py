"""The faces of one frame by itself: in all of it, or in a box.

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


Ask: TypeAlias = Callable[[Shown, Box | None], Awaitable[list[Answer]]]
"""An image [H, W, 3] -> its faces; with a box, the one face in it."""

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
        return await ask(colour.shown(samples), None)
    small, factors = _reduced(samples, search_size / longest)
    faces = []
    for found in await ask(colour.shown(small), None):
        box = (found.box.reshape(2, 2) + 0.5) / factors - 0.5
        faces.append(await find_in_box(samples, colour, ask, box))
    return faces


async def find_in_box(samples: Samples, colour: Colour, ask: Ask, box: NDArray[np.float64]) -> Answer:
    """The face of a box [2, 2], whatever its score is, from a part of the picture at its own resolution."""
    centre, reach = box.mean(axis=0), _MARGIN * float((box[1] - box[0]).max())
    height, width = samples.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]))
    right, bottom = (int(v) for v in np.clip(np.ceil(centre + reach) + 1, [left + 1, top + 1], [width, height]))
    part = samples[top:bottom, left:right]
    small, factors = _reduced(part, min(1.0, _MAX_PART / max(part.shape[:2])))
    x1, y1, x2, y2 = ((box - [left, top] + 0.5) * factors - 0.5).ravel().tolist()
    (face,) = await ask(colour.shown(small), (x1, y1, x2, y2))
    return Answer(
        box.ravel(),
        face.score,
        (face.points + 0.5) / factors - 0.5 + np.array([left, top], np.float64),
        face.covariances / [factors[0] ** 2, factors[0] * factors[1], factors[1] ** 2],
    )


def _reduced(samples: Samples, scale: float) -> tuple[Samples, NDArray[np.float64]]:
    """The picture reduced by about this factor, and the exact factors of x and y."""
    height, width = samples.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale >= 1:
        return samples, np.ones(2)
    floats = samples.astype(np.float32) if samples.dtype == np.float16 else samples  # OpenCV has no halves
    reduced = cv2.resize(floats, size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, samples.dtype), np.array([size[0] / width, size[1] / height])
