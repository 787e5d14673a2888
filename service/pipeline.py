"""The use case: bytes -> faces -> crops -> points. It knows no door and no server.

::

    check -> decode_image -> find (given boxes, or the detector) -> crop -> infer -> place (crop pixels -> image pixels)
                                                                    by the model that `service.rollout.canary` chooses
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.crop import Crop, transform_covariances, transform_points, warp
from landmarks.flip import average, with_mirrored
from landmarks.layout import PointLayout
from landmarks.uncertainty import face_score
from service.answer import STAGES, Answer, Face, Floats, Region, ServedModel
from service.deadline import Deadline
from service.detectors.port import Detector
from service.images.decode import DecodedImage, decode_image
from service.images.limits import ImageLimits
from service.images.pixels import Pixels
from service.observability.request_scope import stage
from service.request import Options, check_options, checked_box
from service.rollout.canary import Rollout, Variant
from service.rollout.shadow import COMPARISON_SECONDS, Comparison

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    image: ImageLimits
    max_faces: int


class Scene(NamedTuple):
    """What is asked of a model: it says itself how the faces are to be cropped."""

    picture: DecodedImage
    regions: list[Region]
    options: Options


class Pipeline:
    """Everything a request passes through. One for the process; calls run side by side."""

    def __init__(
        self,
        rollout: Rollout,
        detector: Detector,
        executor: Executor,
        limits: Limits,
        comparison: Comparison | None = None,
    ) -> None:
        """`executor`: threads for what would block the event loop: decoding and cropping."""
        self._rollout = rollout
        self._detector = detector
        self._executor = executor
        self._limits = limits
        self._comparison = comparison or Comparison()

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that may answer."""
        return self._rollout.models

    async def detect(self, data: bytes, options: Options, deadline: Deadline) -> Answer:
        """The faces of one image file. Raises ServiceError, EngineError, or asyncio.TimeoutError past the deadline."""
        seconds = deadline.remaining()
        return await asyncio.wait_for(self._detect(data, options, deadline), seconds)

    async def _detect(self, data: bytes, options: Options, deadline: Deadline) -> Answer:
        watch = Stopwatch()
        order = self._rollout.order(options.model)
        check_options(options, order[-1].model, self._limits.max_faces)
        picture = await self._in_thread(lambda: watch.time("decode", lambda: decode_image(data, self._limits.image)))
        with watch.stage("detect"):
            scene = Scene(picture, await self._find(picture.pixels, options, deadline), options)
        variant, faces = await self._rollout.answered(order, lambda each: self._faces(each, scene, deadline, watch))
        if variant is order[0]:  # else it stands in for the one that it would be compared with
            self._compare(variant, faces, scene)
        height, width = picture.pixels.shape[:2]
        warnings, role = picture.warnings, variant.role
        return Answer(variant.model, width, height, faces, watch.finish(), warnings, options.omit, role)

    async def _faces(self, variant: Variant, scene: Scene, deadline: Deadline, watch: Stopwatch) -> tuple[Face, ...]:
        """One model's answer, by `deadline`."""
        if not scene.regions:
            return ()
        crops, pixels = await self._in_thread(lambda: watch.time("crop", lambda: _cut(scene, variant.model)))
        with watch.stage("infer"):
            decoded = await self._infer(variant, pixels, scene.options, deadline)
        layout = variant.model.metadata.layout
        return tuple(place(layout, *each) for each in zip(scene.regions, crops, *decoded, strict=True))

    async def _infer(self, variant: Variant, crops: NDArray[np.uint8], options: Options, deadline: Deadline) -> Decoded:
        asked = with_mirrored(crops) if options.flip else crops
        decoded = await variant.engine.infer(asked, topk=options.cells, deadline=deadline)
        return average(decoded, crops.shape[1], variant.model.metadata.layout) if options.flip else decoded

    def _compare(self, variant: Variant, faces: tuple[Face, ...], scene: Scene) -> None:
        other = self._rollout.other(variant)
        if other is not None:
            deadline, layout = Deadline.after(COMPARISON_SECONDS), variant.model.metadata.layout
            self._comparison.offer(
                variant.role, faces, lambda: self._faces(other, scene, deadline, Stopwatch()), layout
            )

    async def _find(self, image: Pixels, options: Options, deadline: Deadline) -> list[Region]:
        height, width = image.shape[:2]
        if options.boxes:
            return [Region(checked_box(i, box, width, height), "given", None) for i, box in enumerate(options.boxes)]
        most = min(options.max_faces or self._limits.max_faces, self._limits.max_faces)
        least = np.float32(options.detector_threshold or 0)
        detections = await self._detector.detect(image, deadline=deadline)
        found = [
            Region(box.astype(np.float32), "detected", np.float32(score))
            for box, score in zip(*detections, strict=True)
            if np.float32(score) >= least
        ]
        return found[:most]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # with the context of the request, which its log lines and its trace are found by
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, work)


def _cut(scene: Scene, model: ServedModel) -> tuple[list[Crop], NDArray[np.uint8]]:
    """The faces' crops as a model wants them, and their pixels [N, S, S, 3]."""
    size = model.metadata.codec.input_size
    crops = [Crop.around(region.box, model.metadata.crop_scale, size) for region in scene.regions]
    pixels = np.empty((len(crops), size, size, 3), np.uint8)
    cut(scene.picture, crops, pixels)
    return crops, pixels


def cut(picture: DecodedImage, crops: list[Crop], out: NDArray[np.uint8]) -> None:
    """Fills `out` [N, S, S, 3] with the crops' pixels in sRGB."""
    for pixels, crop in zip(out, crops, strict=True):
        pixels[:] = picture.to_srgb(warp(picture.pixels, crop.image_to_crop(), crop.size))


def place(layout: PointLayout, region: Region, crop: Crop, points: Floats, scores: Floats, covariances: Floats) -> Face:
    """One face's answer in crop pixels (points [P, 2], scores [P], covariances [P, 2, 2]) -> in image pixels."""
    matrix = crop.crop_to_image()
    placed = transform_points(matrix, points)
    spread = transform_covariances(matrix, covariances)
    return Face(
        region,
        placed.astype(np.float32),
        np.ascontiguousarray(scores, np.float32),
        np.stack([spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]], axis=1).astype(np.float32),
        score=np.float32(face_score(placed, spread)),
        inter_ocular=np.float32(layout.inter_ocular(placed)),
    )


class Stopwatch:
    """Milliseconds by stage of one request. A stage that runs several times adds up."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages = dict.fromkeys(STAGES, 0.0)

    def add(self, stage: str, start: float) -> None:
        """Adds the time since `start` (of `time.perf_counter`)."""
        self._stages[stage] += 1e3 * (time.perf_counter() - start)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what happens inside, for the answer and for whoever watches the service."""
        start = time.perf_counter()
        try:
            with stage(name):
                yield
        finally:
            self.add(name, start)

    def time(self, name: str, work: Callable[[], T]) -> T:
        with self.stage(name):
            return work()

    def finish(self) -> dict[str, float]:
        """All stages, rounded to microseconds, with the total since the stopwatch was made."""
        self.add("total", self._start)
        return {stage: round(spent, 3) for stage, spent in self._stages.items()}
