"""A shadow comparison: the distance by hand, what is compared and what is not, and that no request notices it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from service.answer import Face, Region, ServedModel
from service.deadline import Deadline
from service.engines.port import EngineFailure, EngineUnavailable
from service.images.decode import DecodedImage
from service.landmarker import EngineLandmarker, Prediction
from service.observability import request_scope
from service.request import Options
from service.rollout.canary import Canary
from service.rollout.shadow import ShadowComparison, distance
from tests.fakes import MODEL, FakeDetector, FakeEngine, encoded, gradient_image, make_gateway
from tests.service.rollout.test_canary import BOX, NextEngine

pytestmark = pytest.mark.anyio

NEXT = replace(MODEL, name="next", provenance="sha256:11")
IMAGE = DecodedImage(np.zeros((8, 8, 3), np.uint8))
REGION = Region(np.array([0, 0, 8, 8], np.float32), "given", None)


def points(dx: float = 0.0, dy: float = 0.0, size: float = 1.0) -> NDArray[np.float32]:
    """Point i at (i, 2 i), moved: points 60 and 72, the outer corners of the eyes, are (12, 24) apart."""
    index = size * np.arange(98, dtype=np.float32)
    return np.stack([index + dx, 2 * index + dy], axis=1).astype(np.float32)


def face(dx: float = 0.0, dy: float = 0.0) -> Face:
    one, empty = np.float32(1), np.zeros((98, 3), np.float32)
    return Face(
        **vars(REGION), score=one, inter_ocular=one, points=points(dx, dy), scores=empty[:, 0], covariances=empty
    )


def test_the_distance_is_the_mean_over_the_points_by_the_primarys_inter_ocular_distance() -> None:
    assert distance(points(), points(), WFLW98) == 0
    assert distance(points(), points(3, 4), WFLW98) == pytest.approx(5 / math.sqrt(720))
    one = points()
    one[7] += (0, 98)
    assert distance(points(), one, WFLW98) == pytest.approx(1 / math.sqrt(720))
    # twice the size: every point i is sqrt(5) i away; 48.5 is the mean of 0 to 97
    assert distance(points(), points(size=2), WFLW98) == pytest.approx(math.sqrt(5) * 48.5 / math.sqrt(720))
    assert distance(points(size=2), points(), WFLW98) == pytest.approx(math.sqrt(5) * 48.5 / math.sqrt(4 * 720))
    assert math.isfinite(distance(np.zeros((98, 2), np.float32), points(), WFLW98))


class FakeLandmarker:
    """Answers with the same faces, once its gate is open; fails when it has an error."""

    def __init__(self, model: ServedModel, *faces: Face) -> None:
        self.models = (model,)
        self.answer = faces
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.scopes: list[request_scope.Scope | None] = []
        """What each call saw of the request that it ran in."""

    def model_for(self, name: str | None) -> ServedModel:
        return self.models[0]

    async def faces(
        self, image: DecodedImage, regions: Sequence[Region], options: Options, deadline: Deadline
    ) -> Prediction:
        self.scopes.append(request_scope.current())
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Prediction(self.models[0], self.answer)


class Compared:
    """A comparison of two fake models, and what it reports."""

    def __init__(self, share: float = 1.0, draw: float = 0.5, candidates_share: float = 0.0) -> None:
        self.distances: list[float] = []
        self.dropped: list[str] = []
        self.primary, self.candidate = FakeLandmarker(MODEL, face()), FakeLandmarker(NEXT, face(3, 4))
        self.canary = Canary(self.primary, self.candidate, lambda: candidates_share, draw=lambda: 0.5)
        self.comparison = ShadowComparison(self.canary, share, self.distances.append, self.dropped.append, lambda: draw)

    async def ask(self) -> Prediction:
        await self.canary.bring_up(FakeEngine())
        return await self.comparison.faces(IMAGE, [REGION], Options(), Deadline.after(10.0))


@pytest.mark.parametrize(("candidates_share", "role"), [(0, "primary"), (1, "candidate")])
async def test_every_face_is_compared_whichever_model_answers(candidates_share: float, role: str) -> None:
    compared = Compared(candidates_share=candidates_share)
    compared.primary.answer = (face(), face(1, 1))
    compared.candidate.answer = (face(3, 4), face(1, 1))
    assert (await compared.ask()).role == role
    await compared.comparison.settled()
    assert compared.distances == pytest.approx([5 / math.sqrt(720), 0])
    assert compared.dropped == []


async def test_the_distance_is_measured_by_the_primarys_face() -> None:
    for candidates_share in (0, 1):
        compared = Compared(candidates_share=candidates_share)
        compared.candidate.answer = (replace(face(), points=points(size=2)),)
        await compared.ask()
        await compared.comparison.settled()
        assert compared.distances == pytest.approx([math.sqrt(5) * 48.5 / math.sqrt(720)])


@pytest.mark.parametrize(("share", "draw", "count"), [(0, 0, 0), (0.5, 0.49, 1), (0.5, 0.5, 0), (1, 0.999, 1)])
async def test_a_share_is_compared(share: float, draw: float, count: int) -> None:
    compared = Compared(share, draw)
    await compared.ask()
    await compared.comparison.settled()
    assert (len(compared.candidate.scopes), len(compared.distances), compared.dropped) == (count, count, [])


async def test_without_a_face_nothing_is_compared() -> None:
    compared = Compared()
    compared.primary.answer = ()
    await compared.ask()
    await compared.comparison.settled()
    assert (compared.candidate.scopes, compared.dropped) == ([], [])


async def test_a_fallback_is_not_compared() -> None:
    compared = Compared(candidates_share=1)
    compared.candidate.error = EngineUnavailable("gone")
    assert (await compared.ask()).is_fallback
    await compared.comparison.settled()
    assert (len(compared.candidate.scopes), compared.distances, compared.dropped) == (1, [], [])


async def test_an_answer_does_not_wait_for_its_comparison() -> None:
    compared = Compared()
    compared.candidate.gate.clear()
    prediction = await compared.ask()
    assert (prediction.model, compared.distances) == (MODEL, [])
    compared.candidate.gate.set()
    await compared.comparison.settled()
    assert len(compared.distances) == 1


async def test_two_comparisons_run_at_a_time_and_further_ones_are_dropped() -> None:
    compared = Compared()
    compared.candidate.gate.clear()
    for _ in range(5):
        await compared.ask()
    assert compared.dropped == ["busy"] * 3
    compared.candidate.gate.set()
    await compared.comparison.settled()
    await compared.ask()  # there is room again
    await compared.comparison.settled()
    assert len(compared.distances) == 3
    assert compared.dropped == ["busy"] * 3


@pytest.mark.parametrize("error", [EngineFailure("broken"), RuntimeError("unforeseen"), asyncio.TimeoutError()])
async def test_a_failed_comparison_is_counted_and_fails_no_request(error: Exception) -> None:
    compared = Compared()
    compared.candidate.error = error
    assert (await compared.ask()).model == MODEL
    await compared.comparison.settled()
    assert (compared.distances, compared.dropped) == ([], ["failed"])


async def test_closing_cancels_the_comparisons_that_run() -> None:
    compared = Compared()
    compared.candidate.gate.clear()
    await compared.ask()
    await compared.comparison.close()
    await compared.comparison.close()
    assert compared.distances == []


# ---------------------------------------------------------------- in a gateway, over two engines


async def test_a_comparison_adds_nothing_to_the_request_that_it_follows() -> None:
    """Neither to its trace and log, which are found through the context, nor to its histograms and its timings."""
    compared = Compared()
    with request_scope.Telemetry().request("rest", "me", {}):
        await compared.ask()
    await compared.comparison.settled()
    assert [scope is None for scope in (*compared.primary.scopes, *compared.candidate.scopes)] == [False, True]

    executor, candidate, distances = ThreadPoolExecutor(2), FakeEngine(), list[float]()
    engine = FakeEngine()
    canary = Canary(EngineLandmarker(engine, executor), EngineLandmarker(candidate, executor), lambda: 0.0)
    comparison = ShadowComparison(canary, 1.0, distances.append)
    await canary.bring_up(candidate)
    gateway = make_gateway(engine, FakeDetector(), landmarker=comparison)
    with gateway.admitted("rest", "me", {}):
        await gateway.detect(encoded(gradient_image()), Options(boxes=((10, 10, 99, 99),)), gateway.deadline(None))
        await comparison.settled()
    assert distances == [0.0]
    assert len(engine.calls) == len(candidate.calls) == 1
    metrics = gateway.metrics.text().decode()
    for name in ("crop", "infer"):
        (line,) = (each for each in metrics.splitlines() if f'stage="{name}"' in each and "_count" in each)
        assert line.endswith(" 1.0")


async def test_the_two_models_are_compared_in_image_pixels() -> None:
    """The candidate has crops of another size: its points are compared where they lie in the image."""
    executor, engine, candidate = ThreadPoolExecutor(2), FakeEngine(), NextEngine()
    distances: list[float] = []
    canary = Canary(EngineLandmarker(engine, executor), EngineLandmarker(candidate, executor), lambda: 0.0)
    comparison = ShadowComparison(canary, 1.0, distances.append)
    await canary.bring_up(candidate)
    gateway = make_gateway(engine, FakeDetector(), landmarker=comparison)
    await gateway.pipeline.detect(encoded(gradient_image()), Options(boxes=(BOX,)), Deadline.after(10.0))
    await comparison.settled()
    # point i is at (36.25 + i / 2, 16.25 + i) for the primary, see test_pipeline, and at (39.5 + i, 20.5 + 2 i) for the
    # candidate; the primary's corners of the eyes are (6, 12) apart
    apart = [math.hypot(3.25 + i / 2, 4.25 + i) for i in range(98)]
    assert distances == pytest.approx([sum(apart) / 98 / math.hypot(6, 12)], abs=1e-5)
