"""The face detector port: an image in, the boxes of its faces out.

The boxes include the forehead and the chin, as the boxes do that the landmark networks were trained with.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from landmarks.detection import Detections, selected, sizes
from service.deadline import Deadline
from service.images.pixels import Pixels


class Detector(Protocol):
    """Finds faces. It is started after the engine; calls run side by side."""

    async def start(self) -> None:
        """Connects or loads. May be called again after an error. Raises EngineError."""

    async def detect(
        self, image: Pixels, *, min_face: float | None = None, deadline: Deadline | None = None
    ) -> Detections:
        """The faces of an image, the largest first. Boxes may reach beyond the image.

        `min_face`: root of the area in pixels of the smallest box that is searched for; None leaves it to the detector.
        `deadline` None sets no limit. Raises EngineError.
        """

    async def ready(self) -> bool:
        """Whether faces can be detected now. Never raises."""


def of_size(found: Detections, min_face: float | None) -> Detections:
    """Those of the detections whose boxes are not smaller than `min_face`."""
    return found if min_face is None else selected(found, sizes(found.boxes) >= min_face)


def largest_first(found: Detections) -> Detections:
    """Sorted by area; equal areas by score, then from left to right, so that the order is always the same."""
    boxes, scores = found
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -scores, -area))
    return Detections(boxes[order], scores[order])
