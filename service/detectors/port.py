"""The face detector port.

A detector's boxes hold the forehead and the chin, as the boxes that the landmark network was trained with do.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from landmarks.detection import Detections
from service.deadline import Deadline
from service.images.pixels import Pixels


class Detector(Protocol):
    """Finds faces. Started once the engine is; calls run side by side."""

    async def start(self) -> None:
        """Connects or loads; may be tried again after an error. Raises EngineError."""

    async def detect(self, image: Pixels, *, deadline: Deadline | None = None) -> Detections:
        """The faces of an RGB image, the largest first; boxes may reach beyond it.

        `deadline`: the caller's; None waits without end. Raises EngineError.
        """

    async def ready(self) -> bool:
        """Whether faces can be found now; never raises."""


def largest_first(found: Detections) -> Detections:
    """Sorted by area; equal areas by score, then from left to right, so that the order is always the same."""
    boxes, scores = found
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -scores, -area))
    return Detections(boxes[order], scores[order])
