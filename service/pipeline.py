"""The use case: image file -> answer. It knows neither API, and no inference server.

::

    check the options -> decode the image, with square pixels -> find regions (the boxes given, or the detector's)
    -> landmarker -> of detected faces: drop those of low score, order, keep max_faces -> answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from landmarks.tensors import MAX_DETECTION_SIDE
from service.answer import Answer, Face, ImageSize, Region, ServedModel
from service.deadline import Deadline
from service.detectors.port import Detector
from service.images.decode import DecodedImage, decode_source, decoding_bytes, read_header
from service.images.header import Source
from service.images.limits import ImageLimits, check_size
from service.images.pixels import Pixels
from service.images.raw import RawImage, read_raw
from service.landmarker import Landmarker
from service.memory import MemoryBudget
from service.pixel_aspect import SQUARE, Stretch
from service.request import Options, check_options, checked_box
from service.stages import Stopwatch, in_thread, run_in_thread, timed

_RGB_BYTES: Final = 3
"""Of a pixel."""
_CROPPING_BYTES: Final = 7
"""Of a pixel of an image: its own, and those of the reduced images of a crop that covers all of it."""
_DETECTION_BYTES: Final = 15
"""Of a pixel of the image that faces are searched in: its own, and those of the copies that a call to Triton makes."""

CONFIDENT_SCORE: Final = 0.5
"""Detected faces with at least this score come first: their points are more likely right than not."""


Look: TypeAlias = Callable[[Pixels], None]


@dataclass(frozen=True)
class PipelineLimits:
    """The bounds of an image, and of the faces answered in it."""

    image: ImageLimits
    max_faces: int
    """Most boxes accepted, and most faces answered, per image; the landmarks of no more faces are computed."""
    min_score: float
    """Least score of a detected face that is answered, unless a request chooses its own."""


class Pipeline:
    """Everything that happens to an image. There is one for the process; calls run side by side."""

    def __init__(
        self,
        landmarker: Landmarker,
        detector: Detector,
        executor: Executor,
        limits: PipelineLimits,
        memory: MemoryBudget | None = None,
    ) -> None:
        """`executor`: threads that decode. `memory`: what images may hold; None sets no limit."""
        self._memory = memory or MemoryBudget()
        self._landmarker = landmarker
        self._detector = detector
        self._executor = executor
        self._limits = limits

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that a request may name, the primary first."""
        return self._landmarker.models

    async def detect(
        self, data: bytes | RawImage, options: Options, deadline: Deadline, look: Look | None = None
    ) -> Answer:
        """The faces of one image. `look`: is shown its pixels, in a thread.

        Raises ServiceError, EngineError, or asyncio.TimeoutError past the deadline.
        """
        seconds = deadline.remaining()
        # past the deadline this coroutine is cancelled, but not its call to Triton: see decision 0005
        return await asyncio.wait_for(self._detect(data, options, deadline, look), seconds)

    async def _detect(self, data: bytes | RawImage, options: Options, deadline: Deadline, look: Look | None) -> Answer:
        with Stopwatch() as stopwatch:
            check_options(options, self._landmarker.model_for(options.model), self._limits.max_faces)
            stretch = Stretch.of(options.pixel_aspect or 1.0)
            source = await in_thread(self._executor, self._read_header, data, stretch)
            hold = await self._memory.take_image(memory_of(source, len(data), stretch), deadline.remaining() / 2)
            with hold.during_request():
                image, size = await run_in_thread(self._executor, "decode", lambda: self._decode(source, stretch, look))
                with timed("detect"):
                    regions = await self._find_regions(image.pixels, size, options, stretch, deadline)
                prediction = await self._landmarker.faces(image, regions, options, deadline)
            faces, rejected = prediction.faces, 0
            if not options.boxes:
                min_score = self._limits.min_score if options.min_score is None else options.min_score
                faces = with_score(prediction.faces, min_score)
                rejected = len(prediction.faces) - len(faces)
                faces = confident_first(faces)[: options.max_faces]
        return Answer(
            model=prediction.model,
            image=size,
            faces=stretch.faces(faces, prediction.model.metadata.layout, options.boxes),
            timings_ms=stopwatch.milliseconds(),
            warnings=image.warnings,
            omit=options.omit,
            role=prediction.role,
            rejected=rejected,
        )

    def _read_header(self, data: bytes | RawImage, stretch: Stretch) -> Source:
        """The image, of a size that is answered. Raises ServiceError."""
        limits = self._limits.image
        source = read_raw(data, limits) if isinstance(data, RawImage) else read_header(data, limits)
        check_size(*stretched_size(source, stretch), limits)
        return source

    def _decode(self, source: Source, stretch: Stretch, look: Look | None) -> tuple[DecodedImage, ImageSize]:
        """The image with square pixels, and the size that it has in the file. Raises ServiceError."""
        stored = decode_source(source, self._limits.image)
        if look is not None:
            look(stored.pixels)
        height, width = stored.pixels.shape[:2]
        check_size(*stretch.size(width, height), self._limits.image)
        return replace(stored, pixels=stretch.pixels(stored.pixels)), ImageSize(width, height)

    async def _find_regions(
        self, pixels: Pixels, size: ImageSize, options: Options, stretch: Stretch, deadline: Deadline
    ) -> list[Region]:
        """The boxes given, in their order; without any, the largest of the faces detected, the largest first.

        Given boxes are in an image of `size`, before it was stretched. A request's own `max_faces` does not reduce
        them: which faces it leaves depends on their scores.
        """
        if options.boxes:
            boxes = [checked_box(i, box, size.width, size.height) for i, box in enumerate(options.boxes)]
            return [Region(stretch.box(box), "given", None) for box in boxes]
        threshold = np.float32(options.detector_threshold or 0)
        detections = await self._detector.detect(pixels, min_face=options.min_face, deadline=deadline)
        regions = [
            Region(box.astype(np.float32), "detected", np.float32(score))
            for box, score in zip(*detections, strict=True)
            if np.float32(score) >= threshold
        ]
        return regions[: self._limits.max_faces]


def memory_of(source: Source, size: int, stretch: Stretch) -> int:
    """Most bytes of memory that a file of `size` bytes takes until its request is answered."""
    width, height = stretched_size(source, stretch)
    pixels = width * height
    stored = 0 if stretch == SQUARE else source.header.width * source.header.height * _RGB_BYTES
    detection = pixels * _RGB_BYTES + min(pixels, MAX_DETECTION_SIDE**2) * _DETECTION_BYTES
    return max(decoding_bytes(source, size), stored + pixels * _CROPPING_BYTES, detection)


def stretched_size(source: Source, stretch: Stretch) -> tuple[int, int]:
    """Width and height of the image as it is shown, with square pixels."""
    width, height = source.header.width, source.header.height
    return stretch.size(*(height, width) if source.header.orientation > 4 else (width, height))


def with_score(faces: tuple[Face, ...], min_score: float) -> tuple[Face, ...]:
    """The faces with at least this score."""
    return tuple(face for face in faces if face.score >= np.float32(min_score))


def confident_first(faces: tuple[Face, ...]) -> tuple[Face, ...]:
    """Faces with a score of at least CONFIDENT_SCORE first, each kind in the order that it had."""
    return tuple(sorted(faces, key=lambda face: bool(face.score < CONFIDENT_SCORE)))
