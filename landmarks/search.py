"""An image is searched for faces coarse to fine, since most images show few faces, and large ones.

::

    the image at a quarter of its size -> no face that is certain?  -> the image at half its size -> ... at full size
                                       -> faces, some of them small -> windows about these at half its size -> ...
                                       -> large faces alone         -> done

Small boxes are looked at again even if their score is too low for a face: they are hints. So the search of a portrait
costs a tenth of that of all pixels, and a crowd, whose windows would cover the image, is searched as a whole
(docs/decisions/0061-coarse-to-fine.md).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmarks.detection import Detections, RgbImage, enlarged, resized, selected, sizes, suppress
from landmarks.detector import DetectorSpec

HINT_SCORE: Final = 0.1
"""Boxes of a lower score than a face needs, down to this one, are hints."""
CERTAIN_SCORE: Final = 0.5
"""A coarse search suffices only if it finds a face with at least this score."""
SMALL_FACE: Final = 32.0
"""Pixels of the searched image. Smaller boxes are looked at again more finely."""
MIN_FACE: Final = 16.0
"""Pixels of the searched image: the network finds nearly all faces of this size, and fewer of smaller ones."""
MIN_COARSE_SIDE: Final = 320
"""Pixels of the longer side of an image; searching smaller ones saves little, and often the finer search follows."""
WINDOW: Final = 6.0
"""Side of a window over the size of the box in its middle, so that the network sees what is around a face."""
WINDOW_STEP: Final = 64
"""Windows have sides of multiples of so many pixels, at least two: few sizes, for each of which OpenVINO prepares."""
MAX_WINDOWS: Final = 0.5
"""The largest share of the image that windows are searched for; the image is searched as a whole instead."""


class Part(NamedTuple):
    """A rectangle of the image, in whole pixels: [y1:y2, x1:x2]."""

    x1: int
    y1: int
    x2: int
    y2: int

    def of(self, image: RgbImage) -> RgbImage:
        """The rectangle's pixels, not copied."""
        return image[self.y1 : self.y2, self.x1 : self.x2]

    def holds(self, x1: float, y1: float, x2: float, y2: float) -> bool:
        """Whether a box lies within it."""
        return self.x1 <= x1 and x2 <= self.x2 and self.y1 <= y1 and y2 <= self.y2

    @property
    def area(self) -> int:
        return (self.x2 - self.x1) * (self.y2 - self.y1)


class Search:
    """The search of one image.

    ::

        search = Search(image, spec, max_side)
        while (pixels := search.next_part()) is not None:
            search.add(find_faces(pixels, network, spec, HINT_SCORE))
        search.faces()
    """

    def __init__(self, image: RgbImage, spec: DetectorSpec, max_side: int, min_face: float | None = None) -> None:
        """`max_side`: the most pixels along the longer side of an image that is searched. `min_face`: size in pixels of
        the smallest face that matters, for which one search suffices; None leaves it to what a coarse search shows.
        """
        self._image = image
        self._spec = spec
        height, width = image.shape[:2]
        self._scales = search_scales(max(height, width), max_side, min_face)
        self._whole = Part(0, 0, width, height)
        self._parts = [self._whole]
        self._part = self._whole
        self._scale = self._scales.pop(0)
        self._pixels = image
        self._found = Detections.none()

    def next_part(self) -> RgbImage | None:
        """What to search next; None at the end."""
        if not self._parts:
            self._parts = self._finer_parts()
        if not self._parts:
            return None
        self._part = self._parts.pop()
        part = self._part.of(self._image)
        self._pixels = resized(part, self._scale) if self._scale < 1 else part
        return self._pixels

    def add(self, found: Detections) -> None:
        """`found`: the faces and hints of the last part, in its pixels."""
        part = self._part
        found = in_image(found, self._pixels, part, self._image)
        if part != self._whole:
            # larger ones are in the image at a smaller scale already; of those that the window cuts it shows a part
            is_small = sizes(found.boxes) * self._scale < 3 * SMALL_FACE
            found = selected(found, is_small & ~self._is_cut(found.boxes, part))
        self._found = Detections(*map(np.concatenate, zip(self._found, found, strict=True)))

    def faces(self) -> Detections:
        """The faces in pixels of the image, best first."""
        return suppress(selected(self._found, self._found.scores >= self._spec.threshold), self._spec.nms_iou)

    def _finer_parts(self) -> list[Part]:
        if not self._scales:
            return []
        is_small = sizes(self._found.boxes) * self._scale < SMALL_FACE
        is_certain = bool((self._found.scores >= CERTAIN_SCORE).any())
        if is_certain and not is_small.any():
            return []
        self._scale = self._scales.pop(0)
        windows = self._windows(self._found.boxes[is_small]) if is_certain else None
        self._found = Detections.none() if windows is None else selected(self._found, ~is_small)
        return windows or [self._whole]

    def _windows(self, boxes: NDArray[np.float64]) -> list[Part] | None:
        """Squares about boxes, but for those that are well within another's; None where they are no less work than the
        whole image.
        """
        _, _, width, height = self._whole
        windows: list[Part] = []
        area = 0
        for (x, y), size in zip((boxes[:, :2] + boxes[:, 2:]) / 2, sizes(boxes), strict=True):
            if any(window.holds(x - size, y - size, x + size, y + size) for window in windows):
                continue
            side = max(2, math.ceil(WINDOW * size * self._scale / WINDOW_STEP)) * WINDOW_STEP / self._scale
            x1, y1 = (int(min(max(0, v - side / 2), max(0, limit - side))) for v, limit in ((x, width), (y, height)))
            windows.append(Part(x1, y1, min(width, math.ceil(x1 + side)), min(height, math.ceil(y1 + side))))
            area += windows[-1].area
            if area > MAX_WINDOWS * self._whole.area:
                return None  # at once: a crowd has hundreds of boxes
        return windows

    def _is_cut(self, boxes: NDArray[np.float64], part: Part) -> NDArray[np.bool_]:
        """[N] whether an edge of the part that is none of the image cuts a box."""
        low = [edge if edge > 0 else -np.inf for edge in part[:2]]
        high = [edge if edge < limit else np.inf for edge, limit in zip(part[2:], self._whole[2:], strict=True)]
        is_cut: NDArray[np.bool_] = ((boxes[:, :2] < low) | (boxes[:, 2:] > high)).any(axis=1)
        return is_cut


def in_image(found: Detections, pixels: RgbImage, part: Part, image: RgbImage) -> Detections:
    """What was found in `pixels`, which show that part of the image: boxes in pixels of the image."""
    boxes, scores = enlarged(found, pixels, part.of(image))
    return Detections(boxes + np.array([part.x1, part.y1] * 2), scores)


def search_scales(longer_side: int, max_side: int, min_face: float | None = None) -> list[float]:
    """The scales at which an image is searched, the coarsest first.

    They are a quarter, a half and all of its size, which is reduced to `max_side` first; the least that suffices alone
    where the size in pixels of the smallest face that matters is known.
    """
    finest = min(1.0, max_side / longer_side)
    if min_face is not None:
        return [min(finest, max(MIN_FACE / min_face, 1 / longer_side))]
    coarser = [scale for scale in (finest / 4, finest / 2) if scale * longer_side >= MIN_COARSE_SIDE]
    return [*coarser, finest]
