"""The faces of one frame: all of them, or one whose points are known about.

::

    a frame, reduced -> searched for faces -> the points of each
    points           -> an upright view about them, at the picture's own resolution -> the network -> the face

Every face is answered from such a view, whether it was searched or followed, so that its points do not jump between the
two. The network's crop of an upright view needs no second pass, which would cost as much as the first. Only what is
looked at is converted to screen colours.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import (
    Crop,
    Matrix,
    compose,
    corners_in_image,
    invert,
    part_about,
    scaling,
    shifting,
    transform_covariances,
    transform_points,
    warp,
)
from landmarks.layout import PointLayout
from landmarks.metadata import PointsCrop
from landmarks.second_pass import crop_by_points
from landmarks.size import Size
from shots.reading.colour import Colour, Shown
from shots.reading.picture import Samples
from shots.records import FoundFace, rounded_face
from shots.tracks import Floats

Box: TypeAlias = tuple[float, float, float, float]


class Answer(NamedTuple):
    """One face, in pixels of the image that was asked about."""

    score: float
    points: NDArray[np.floating[Any]]
    """[P, 2]"""
    covariances: NDArray[np.floating[Any]]
    """[P, 3] xx, xy, yy"""


Ask: TypeAlias = Callable[[Shown, Box | None], Awaitable[list[Answer]]]
"""An image [H, W, 3] -> its faces, searched in pixels of the shot's aspect; with a box, the one face in it, in square
pixels."""

_BOX: Final = PointsCrop(scale=1.29, rise=0.13)
"""Where a face's box lies about its upright points: as in the shipped network's training, so that the crop by the
points which it answers is the one that it was asked about."""
_VIEW: Final = Size(400, 400)
"""A third more than the network's crop has: what is resampled twice stays sharp."""
_REACH: Final = 1.5
"""Side of a view in sides of the box: the network's crop has 1.25, and a second pass may need a little more."""
_MIN_SEEN: Final = 0.1
"""Of the width and the height of a box must be in the picture."""
_MAX_PART: Final = 1536
"""Pixels along a side beyond which the part about a face is reduced before anything else."""


@dataclass(frozen=True)
class Finder:
    """Finds the faces of pictures [H, W, 3]; results are in their pixels. Raises what `ask` does."""

    ask: Ask
    colour: Colour
    layout: PointLayout
    search_size: int
    """Longest side in pixels of the image that is searched."""
    pixel_aspect: float = 1.0
    """Width of a pixel over its height."""

    async def search(self, samples: Samples) -> tuple[FoundFace, ...]:
        """All faces of a picture."""
        small, factors = _resized(samples, min(1.0, self.search_size / max(samples.shape[:2])))
        found = await self.ask(self.colour.shown(small), None)
        points = [(face.points + 0.5) / factors - 0.5 for face in found]
        faces = await asyncio.gather(*(self.look(samples, each) for each in points))
        return tuple(face for face in faces if face is not None)

    async def look(self, samples: Samples, points: Floats, *, only_whole: bool = False) -> FoundFace | None:
        """The face whose points are about these, whatever its score is; None where these are no face's, or where the
        picture shows next to nothing of it.

        `only_whole`: None, too, where the picture's edge cuts it, so that what is seen of it changes as it moves.
        """
        crop = self._crop(points)
        if crop is None:
            return None
        box = self._box(crop)
        seen = _seen(box, samples)
        if seen < _MIN_SEEN or (only_whole and seen < 1):
            return None
        view, to_view = await asyncio.to_thread(self._upright if seen == 1 else self._clipped, samples, crop)
        (face,) = await self.ask(view, self._box_in_view(crop, to_view))
        from_view = invert(to_view)
        points, covariances = transform_points(from_view, face.points), _transformed(from_view, face.covariances)
        return rounded_face(box.ravel(), face.score, points, covariances)

    def _crop(self, points: Floats) -> Crop | None:
        """The upright box about points, in square pixels."""
        return crop_by_points(transform_points(self._to_square, points), _BOX, self.layout, _VIEW)

    def _box(self, crop: Crop) -> Floats:
        """[2, 2], of the picture: without its roll."""
        centre = np.array([crop.center_x, crop.center_y])
        return transform_points(self._from_square, [centre - crop.side / 2, centre + crop.side / 2])

    def _box_in_view(self, crop: Crop, to_view: Matrix) -> Box:
        from_square = compose(to_view, self._from_square)
        centre = np.array([crop.center_x, crop.center_y])
        (x, y), edge = transform_points(from_square, [centre, centre + np.array([crop.side / 2, 0.0])])
        half = math.hypot(*(edge - [x, y]))
        return x - half, y - half, x + half, y + half

    def _upright(self, samples: Samples, crop: Crop) -> tuple[Shown, Matrix]:
        """The view of a face, and the matrix from the picture to it."""
        to_view = compose(replace(crop, side=_REACH * crop.side).image_to_crop(), self._to_square)
        part, to_part = _part(samples, corners_in_image(to_view, _VIEW))
        return warp(self.colour.shown(part), compose(to_view, invert(to_part)), _VIEW), to_view

    def _clipped(self, samples: Samples, crop: Crop) -> tuple[Shown, Matrix]:
        """The same of a face that the picture's edge cuts: not turned, so that the network is shown the edge."""
        box = self._box(crop)
        part, to_part = _part(samples, box.mean(axis=0) + (box - box.mean(axis=0)) * _REACH, self.pixel_aspect)
        return self.colour.shown(part), to_part

    @property
    def _to_square(self) -> Matrix:
        return scaling(self.pixel_aspect, 1.0)

    @property
    def _from_square(self) -> Matrix:
        return scaling(1 / self.pixel_aspect, 1.0)


def _seen(box: Floats, samples: Samples) -> float:
    """How much of the width or of the height of a box [2, 2] a picture shows, whichever is less: 1 for all of it."""
    height, width = samples.shape[:2]
    low, high = np.clip(box, -0.5, [width - 0.5, height - 0.5])
    return float(((high - low) / (box[1] - box[0])).min())


def _part(samples: Samples, corners: Floats, stretch: float = 1.0) -> tuple[Samples, Matrix]:
    """The part of a picture that holds these corners [N, 2], `stretch` times as wide and not too large, and the matrix
    from the picture to it.
    """
    where, origin = part_about(samples.shape, corners, 1)
    part = samples[where]
    reduced, (x, y) = _resized(part, min(1.0, _MAX_PART / max(part.shape[:2])), stretch)
    return reduced, compose(scaling(x, y), shifting(-origin))


def _resized(samples: Samples, scale: float, stretch: float = 1.0) -> tuple[Samples, NDArray[np.float64]]:
    """The picture reduced by about this factor and made wider, and the exact factors of x and y."""
    height, width = samples.shape[:2]
    size = (max(1, round(width * scale * stretch)), max(1, round(height * scale)))
    if size == (width, height):
        return samples, np.ones(2)
    floats = samples.astype(np.float32) if samples.dtype == np.float16 else samples  # OpenCV has no halves
    resized = cv2.resize(floats, size, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, samples.dtype), np.array([size[0] / width, size[1] / height])


def _transformed(matrix: Matrix, covariances: NDArray[np.floating[Any]]) -> Floats:
    """Covariances [P, 3] (xx, xy, yy) through a matrix."""
    xx, xy, yy = np.moveaxis(np.asarray(covariances, np.float64), -1, 0)
    turned = transform_covariances(matrix, np.stack([xx, xy, xy, yy], axis=-1).reshape(-1, 2, 2))
    return turned.reshape(-1, 4)[:, [0, 1, 3]]
