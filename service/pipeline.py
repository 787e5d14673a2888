"""The use case: image file -> answer. It knows neither API, and no inference server.

::

    check the options -> decode the image -> find regions (the boxes given, or the detector's) -> landmarker -> answer
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from service.answer import Answer, ImageSize, Region, ServedModel
from service.deadline import Deadline
from service.detectors.port import Detector
from service.images.decode import decode_image
from service.images.limits import ImageLimits
from service.images.pixels import Pixels
from service.landmarker import Landmarker
from service.request import Options, check_options, checked_box
from service.stages import Stopwatch, run_in_thread, timed


@dataclass(frozen=True)
class Limits:
    image: ImageLimits
    max_faces: int
    """Most boxes accepted, and most faces answered, per image."""


class Pipeline:
    """Everything that happens to an image. There is one for the process; calls run side by side."""

    def __init__(self, landmarker: Landmarker, detector: Detector, executor: Executor, limits: Limits) -> None:
        """`executor`: threads that decode."""
        self._landmarker = landmarker
        self._detector = detector
        self._executor = executor
        self._limits = limits

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that a request may name, the primary first."""
        return self._landmarker.models

    async def detect(self, data: bytes, options: Options, deadline: Deadline) -> Answer:
        """The faces of one image file. Raises ServiceError, EngineError, or asyncio.TimeoutError past the deadline."""
        seconds = deadline.remaining()
        return await asyncio.wait_for(self._detect(data, options, deadline), seconds)

    async def _detect(self, data: bytes, options: Options, deadline: Deadline) -> Answer:
        with Stopwatch() as stopwatch:
            check_options(options, self._landmarker.model_for(options.model), self._limits.max_faces)
            image = await run_in_thread(self._executor, "decode", lambda: decode_image(data, self._limits.image))
            with timed("detect"):
                regions = await self._find_regions(image.pixels, options, deadline)
            prediction = await self._landmarker.faces(image, regions, options, deadline)
        height, width = image.pixels.shape[:2]
        return Answer(
            prediction.model,
            ImageSize(width, height),
            prediction.faces,
            stopwatch.milliseconds(),
            image.warnings,
            options.omit,
            prediction.role,
        )

    async def _find_regions(self, pixels: Pixels, options: Options, deadline: Deadline) -> list[Region]:
        """The boxes given, in their order; without any, the faces detected, the largest first."""
        height, width = pixels.shape[:2]
        if options.boxes:
            return [Region(checked_box(i, box, width, height), "given", None) for i, box in enumerate(options.boxes)]
        max_faces = min(options.max_faces or self._limits.max_faces, self._limits.max_faces)
        min_score = np.float32(options.detector_threshold or 0)
        detections = await self._detector.detect(pixels, deadline=deadline)
        regions = [
            Region(box.astype(np.float32), "detected", np.float32(score))
            for box, score in zip(*detections, strict=True)
            if np.float32(score) >= min_score
        ]
        return regions[:max_faces]
