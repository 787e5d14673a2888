"""Hand-written stand-ins for the service's ports."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from landmarks.codec import CodecSpec, Decoded
from landmarks.detection import Detections
from landmarks.layout import PointLayout
from landmarks.metadata import ModelMetadata
from service.answer import ServedModel
from service.deadline import Deadline
from service.gateway import Gateway
from service.images.limits import ImageLimits
from service.landmarker import EngineLandmarker
from service.pipeline import Pipeline, PipelineLimits
from service.readiness import Readiness

MODEL = ServedModel(
    "fake",
    "7",
    "sha256:00",
    ModelMetadata("fake", CodecSpec(), crop_scale=1.25, run_id="none", data=("none",), degrees_of_freedom={"jaw": 4.0}),
)

SYNTHETIC_106 = PointLayout(
    "synthetic106",
    tuple(f"point_{i}" for i in range(106)),
    flip=tuple(range(106)),
    groups={"upper": tuple(range(50)), "lower": tuple(range(50, 106))},
    norm="box",
    outlines={"upper": ((0, 1, 2),)},
)
"""A layout that no code knows: with another number of points, without eye corners, and with groups of other names."""


class FakeEngine:
    """Answers every crop with the same points, point i at crop pixel (i, 2 i). Raises `error`; waits for `gate`."""

    def __init__(self) -> None:
        self.model = MODEL
        self.error: Exception | None = None
        self.is_ready = True
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.calls: list[tuple[tuple[int, ...], int | None, float | None, str | None]] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def ready(self) -> bool:
        return self.is_ready

    async def infer(
        self,
        crops: np.ndarray,
        *,
        decoder: str | None = None,
        topk: int | None = None,
        deadline: Deadline | None = None,
    ) -> Decoded:
        self.calls.append((crops.shape, topk, None if deadline is None else deadline.remaining(), decoder))
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        count = self.model.metadata.layout.points
        index = np.arange(count, dtype=np.float32)
        points = np.stack([index, 2 * index], axis=1)
        scores = (index + 0.5) / count
        covariances = np.broadcast_to(np.array([[4.0, 1.0], [1.0, 2.0]], np.float32), (count, 2, 2))
        n = len(crops)
        visibility = scores if self.model.metadata.has_visibility else np.empty(0)
        return Decoded(*(np.stack([a] * n).astype(np.float32) for a in (points, scores, covariances, visibility)))


class FakeDetector:
    """Finds the faces that it is given, in every image."""

    def __init__(self, *found: tuple[tuple[float, float, float, float], float]) -> None:
        self.found = found

    async def start(self) -> None: ...

    async def ready(self) -> bool:
        return True

    async def detect(
        self, image: np.ndarray, *, min_face: float | None = None, deadline: Deadline | None = None
    ) -> Detections:
        boxes = np.array([box for box, _ in self.found], np.float64).reshape(-1, 4)
        return Detections(boxes, np.array([score for _, score in self.found], np.float64))


def make_gateway(engine: Any, detector: Any, **changes: Any) -> Gateway:
    """A gateway over fakes with small limits."""
    values: dict[str, Any] = {
        "max_bytes": 100_000,
        "max_pixels": 250_000,
        "max_side": 8_000,
        "max_faces": 4,
        "min_score": 0.0,
        "max_images": 3,
        "max_batch_bytes": 200_000,
        "max_in_flight": 2,
        "request_timeout": 30.0,
        **changes,
    }
    image_limits = ImageLimits(values["max_bytes"], values["max_pixels"], values["max_side"])
    limits = PipelineLimits(image_limits, values["max_faces"], values["min_score"])
    executor = ThreadPoolExecutor(2)
    landmarker = values.get("landmarker") or EngineLandmarker(engine, executor)
    memory = values.get("memory")
    return Gateway(
        Pipeline(landmarker, detector, executor, limits, memory),
        Readiness(engine, detector, max_age=0),
        max_bytes=values["max_bytes"],
        max_images=values["max_images"],
        max_batch_bytes=values["max_batch_bytes"],
        max_in_flight=values["max_in_flight"],
        request_timeout=values["request_timeout"],
        memory=memory,
        telemetry=values.get("telemetry"),
    )


def gradient_image(width: int = 320, height: int = 240) -> np.ndarray:
    """RGB. Every corner has its own colour, so that a rotated or mirrored image differs."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 40)], axis=2).astype(np.uint8)


def encoded(image: np.ndarray, extension: str = ".png") -> bytes:
    """An image file of an RGB or grey image."""
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(extension, stored)
    assert ok
    return bytes(data.tobytes())
