"""The use case: bytes -> faces -> crops -> points. It knows no door and no server.

::

    decode_image -> find (given boxes, or the detector) -> crop -> Engine.infer -> place (crop pixels -> image pixels)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecError
from landmarks.crop import Crop, transform_covariances, transform_points, warp
from landmarks.layout import OUTER_EYE_CORNERS
from service.detector import Detector, overlaps
from service.errors import ErrorKind, ServiceError
from service.images import Image, ImageLimits, decode_image
from service.inference import Engine, ServedModel

Floats = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    image: ImageLimits
    max_faces: int


@dataclass(frozen=True)
class Options:
    """What a caller may choose, by the same names through every door."""

    boxes: tuple[tuple[float, ...], ...] = ()
    """xyxy in image pixels, rounded to float32 as the wire has them. None given: the detector looks for faces."""
    topk: int | None = None
    """Heatmap cells averaged for a point; None: as the model was validated."""
    max_faces: int | None = None
    """Of the faces detected, the largest so many; None: as many as the service answers at most."""


@dataclass(frozen=True)
class Region:
    """Where a face is, and how that is known."""

    box: Floats
    """[4] xyxy, image pixels."""
    source: Literal["given", "detected"]
    score: np.float32 | None
    """The detector's, in [0, 1]; None for a given box."""


@dataclass(frozen=True)
class Face:
    """Every number is a float32, image pixels, so that all doors answer the same."""

    region: Region
    points: Floats
    """[98, 2]"""
    scores: Floats
    """[98] in [0, 1]"""
    covariances: Floats
    """[98, 3]: xx, xy, yy"""
    score: np.float32
    """Mean of `scores`."""
    inter_ocular: np.float32
    """Distance between the outer corners of the eyes."""


@dataclass(frozen=True)
class Answer:
    model: ServedModel
    width: int
    height: int
    faces: tuple[Face, ...]
    timings_ms: dict[str, float]
    """Milliseconds in each stage of STAGES."""


STAGES = ("decode", "detect", "crop", "infer", "total")


class Pipeline:
    """Everything a request passes through. One for the process; calls run side by side."""

    def __init__(self, engine: Engine, detector: Detector, executor: Executor, limits: Limits) -> None:
        """`executor`: threads for what would block the event loop: decoding, detecting and cropping."""
        self._engine = engine
        self._detector = detector
        self._executor = executor
        self._limits = limits

    async def detect(self, data: bytes, options: Options, timeout: float) -> Answer:
        """The faces of one image file, within `timeout` seconds. Raises ServiceError, EngineError or TimeoutError."""
        return await asyncio.wait_for(self._detect(data, options, time.monotonic() + timeout), timeout)

    async def _detect(self, data: bytes, options: Options, deadline: float) -> Answer:
        watch = Stopwatch()
        self.check(options)
        image = await self._in_thread(lambda: watch.time("decode", lambda: decode_image(data, self._limits.image)))
        faces = await self.faces(image, options, deadline, watch)
        return Answer(self._engine.model, image.shape[1], image.shape[0], faces, watch.finish())

    async def faces(self, image: Image, options: Options, deadline: float, watch: Stopwatch) -> tuple[Face, ...]:
        """The faces of one RGB image, by `deadline` (of `time.monotonic`)."""
        regions, crops, pixels = await self._in_thread(lambda: self._prepare(image, options, watch))
        if not regions:
            return ()
        start = time.perf_counter()
        decoded = await self._engine.infer(pixels, topk=options.topk, timeout=deadline - time.monotonic())
        watch.add("infer", start)
        return tuple(place(*each) for each in zip(regions, crops, *decoded, strict=True))

    def check(self, options: Options) -> None:
        """Raises ServiceError for options that no image could satisfy."""
        if len(options.boxes) > self._limits.max_faces:
            raise ServiceError(
                ErrorKind.TOO_MANY_BOXES,
                f"{len(options.boxes)} boxes given, at most {self._limits.max_faces} are answered: send them in parts",
            )
        if options.max_faces is not None and options.max_faces < 1:
            raise ServiceError(ErrorKind.INVALID_REQUEST, "max_faces must be at least 1")
        try:
            codec = self._engine.model.metadata.codec
            codec.check_topk(codec.topk if options.topk is None else options.topk)
        except CodecError as error:
            raise ServiceError(ErrorKind.INVALID_REQUEST, str(error)) from error

    def _prepare(
        self, image: Image, options: Options, watch: Stopwatch
    ) -> tuple[list[Region], list[Crop], NDArray[np.uint8]]:
        metadata = self._engine.model.metadata
        size = metadata.codec.input_size
        regions = watch.time("detect", lambda: self._find(image, options))
        crops = [Crop.around(region.box, metadata.crop_scale, size) for region in regions]
        pixels = np.empty((len(crops), size, size, 3), np.uint8)
        watch.time("crop", lambda: cut(image, crops, pixels))
        return regions, crops, pixels

    def _find(self, image: Image, options: Options) -> list[Region]:
        if options.boxes:
            return [Region(checked_box(i, box, image), "given", None) for i, box in enumerate(options.boxes)]
        most = min(options.max_faces or self._limits.max_faces, self._limits.max_faces)
        boxes, scores = self._detector.detect(image)
        return [
            Region(box.astype(np.float32), "detected", np.float32(score))
            for box, score in zip(boxes[:most], scores[:most], strict=True)
        ]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def checked_box(number: int, box: tuple[float, ...], image: Image) -> Floats:
    """The box as float32 [4]. Raises ServiceError of kind INVALID_BOX, naming it, when no crop can be made of it."""
    height, width = image.shape[:2]
    values = np.array(box, np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        problem = "is not four finite numbers x1, y1, x2, y2"
    elif not (values[0] < values[2] and values[1] < values[3]):
        problem = "is inverted or empty: x1 < x2 and y1 < y2 are needed"
    elif not overlaps(values, width, height):
        problem = f"lies outside the image of {width} x {height} pixels"
    elif max(values[2] - values[0], values[3] - values[1]) > MAX_BOX_TO_IMAGE * max(width, height):
        problem = f"is more than {MAX_BOX_TO_IMAGE} times as long as the image of {width} x {height} pixels"
    elif max(values[2] - values[0], values[3] - values[1]) < MIN_BOX:
        problem = f"is less than {MIN_BOX} pixel long"
    else:
        return values.astype(np.float32)
    raise ServiceError(ErrorKind.INVALID_BOX, f"box {number} ({', '.join(f'{v:g}' for v in box)}) {problem}")


MAX_BOX_TO_IMAGE = 100
MIN_BOX = 1.0
"""Beyond these no face can be seen, and the arithmetic of the crop would lose its precision."""


def cut(image: Image, crops: list[Crop], out: NDArray[np.uint8]) -> None:
    """Fills `out` [N, S, S, 3] with the crops' pixels."""
    for pixels, crop in zip(out, crops, strict=True):
        pixels[:] = warp(image, crop.image_to_crop(), crop.size)


def place(region: Region, crop: Crop, points: Floats, scores: Floats, covariances: Floats) -> Face:
    """One face's answer in crop pixels (points [98, 2], scores [98], covariances [98, 2, 2]) -> in image pixels."""
    matrix = crop.crop_to_image()
    placed = transform_points(matrix, points)
    spread = transform_covariances(matrix, covariances)
    right, left = (placed[i] for i in OUTER_EYE_CORNERS)
    return Face(
        region,
        placed.astype(np.float32),
        np.ascontiguousarray(scores, np.float32),
        np.stack([spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]], axis=1).astype(np.float32),
        score=np.float32(scores.mean(dtype=np.float64)),
        inter_ocular=np.float32(np.linalg.norm(left - right)),
    )


class Stopwatch:
    """Milliseconds by stage of one request. A stage that runs several times adds up."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages = dict.fromkeys(STAGES, 0.0)

    def add(self, stage: str, start: float) -> None:
        """Adds the time since `start` (of `time.perf_counter`)."""
        self._stages[stage] += 1e3 * (time.perf_counter() - start)

    def time(self, stage: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.add(stage, start)

    def finish(self) -> dict[str, float]:
        """All stages, rounded to microseconds, with the total since the stopwatch was made."""
        self.add("total", self._start)
        return {stage: round(spent, 3) for stage, spent in self._stages.items()}
