"""A canary: which model answers, by share and by name, and what happens when the candidate fails."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from landmarks.codec import CodecSpec, Decoded
from landmarks.size import Size
from service.answer import Answer, Region, ServedModel
from service.deadline import Deadline
from service.engines.port import EngineError, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.errors import ErrorKind, ServiceError
from service.images.decode import DecodedImage
from service.landmarker import EngineLandmarker, Prediction
from service.request import Options
from service.rollout.canary import Canary
from tests.fakes import MODEL, FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

NEXT = ServedModel(
    "next", "1", "sha256:11", replace(MODEL.metadata, name="next", codec=CodecSpec(input_size=Size.square(128)))
)
BOX = (48.8, 60.0, 151.2, 100.0)
ONE_BOX = Options(boxes=(BOX,))


class NextEngine(FakeEngine):
    """The candidate: crops of 128 pixels, every point moved by (3, 4) of them."""

    def __init__(self, model: ServedModel = NEXT) -> None:
        super().__init__()
        self.model = model
        self.failures: list[EngineError] = []
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.failures:
            raise self.failures.pop(0)

    async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
        decoded = await super().infer(crops, **options)
        return decoded._replace(points=decoded.points + np.array([3, 4], np.float32))


class TwoModels:
    """A primary, a candidate, the canary of the two, and a gateway in front."""

    def __init__(self, share: float = 0.0, draw: Any = lambda: 0.5, candidate: NextEngine | None = None) -> None:
        self.primary, self.candidate = FakeEngine(), candidate or NextEngine()
        self.fallbacks: list[str] = []
        executor = ThreadPoolExecutor(2)
        primary, candidate_ = (EngineLandmarker(engine, executor) for engine in (self.primary, self.candidate))
        self.canary = Canary(primary, candidate_, lambda: share, self.fallbacks.append, draw)
        self.gateway = make_gateway(self.primary, FakeDetector(), landmarker=self.canary, max_in_flight=99)

    async def answer(self, options: Options = ONE_BOX, *, is_up: bool = True) -> Answer:
        if is_up:
            await self.canary.bring_up(self.candidate)
        return await self.gateway.pipeline.detect(encoded(gradient_image()), options, Deadline.after(10.0))

    async def refusal(self, options: Options) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.answer(options)
        return caught.value


# ---------------------------------------------------------------- the model that answers


@pytest.mark.parametrize(
    ("share", "drawn", "name"),
    [(0, 0.0, "fake"), (1, 0.999, "next"), (0.5, 0.49, "next"), (0.5, 0.5, "fake")],
)
async def test_the_share_decides_for_requests_that_name_no_model(share: float, drawn: float, name: str) -> None:
    answer = await TwoModels(share, lambda: drawn).answer()
    assert (answer.model.name, answer.role) == (name, {"fake": "primary", "next": "candidate"}[name])


async def test_a_quarter_of_many_requests_is_a_quarter() -> None:
    two = TwoModels(0.25, random.Random(7).random)
    await two.canary.bring_up(two.candidate)
    roles = Counter(two.canary.route(None)[0].role for _ in range(4000))
    assert roles["candidate"] == pytest.approx(1000, abs=100)


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("name", ["fake", "next"])
async def test_a_name_overrides_the_share(share: float, name: str) -> None:
    answer = await TwoModels(share).answer(Options(boxes=(BOX,), model=name))
    assert (answer.model.name, answer.role) == (name, {"fake": "primary", "next": "candidate"}[name])


async def test_both_models_are_listed_and_an_unknown_name_is_refused_with_their_names() -> None:
    two = TwoModels()
    refusal = await two.refusal(Options(boxes=(BOX,), model="other"))
    assert refusal.kind is ErrorKind.UNKNOWN_MODEL
    assert refusal.message == "no model 'other' is served; there is 'fake' and 'next'"
    assert two.gateway.models == (MODEL, NEXT)


async def test_a_name_that_both_models_have_counts_as_none() -> None:
    same = replace(NEXT, name="fake")
    named = Options(boxes=(BOX,), model="fake")
    assert (await TwoModels(1, candidate=NextEngine(same)).answer(named)).model.provenance == "sha256:11"
    assert (await TwoModels(0, candidate=NextEngine(same)).answer(named)).model.provenance == "sha256:00"


async def test_each_model_gets_crops_of_its_own_size() -> None:
    # see test_pipeline: the crop shows 128 pixels of the image around (100, 80); here a crop's pixel is one of them
    two = TwoModels(1)
    (face,) = (await two.answer()).faces
    np.testing.assert_allclose(face.points[5], [100 - 63.5 + 5 + 3, 80 - 63.5 + 10 + 4], atol=1e-4)
    assert [shape for shape, *_ in two.candidate.calls] == [(1, 128, 128, 3)]
    await two.answer(Options(boxes=(BOX,), model="fake"))
    assert [shape for shape, *_ in two.primary.calls] == [(1, 256, 256, 3)]


async def test_options_are_checked_against_the_model_that_may_answer() -> None:
    # the candidate's maps have 32 x 32 cells, the primary's 64 x 64
    refusal = await TwoModels().refusal(Options(boxes=(BOX,), model="next", topk=1025))
    assert refusal.kind is ErrorKind.INVALID_REQUEST
    assert (await TwoModels().answer(Options(boxes=(BOX,), model="fake", topk=1025))).model.name == "fake"


async def test_without_a_face_the_model_of_the_route_is_named() -> None:
    two = TwoModels(1)
    answer = await two.answer(Options())
    assert (answer.model, answer.role, answer.faces) == (NEXT, "candidate", ())
    assert two.candidate.calls == []


# ---------------------------------------------------------------- a candidate that fails


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineUnavailable("gone"), "unavailable"),
        (EngineOverloaded("full"), "overloaded"),
        (EngineFailure("broken"), "failure"),
        (EngineError("?"), "failure"),
    ],
)
async def test_the_primary_answers_when_the_candidate_fails(error: EngineError, reason: str) -> None:
    two = TwoModels(1)
    two.candidate.error = error
    answer = await two.answer()
    assert (answer.model, answer.role, len(answer.faces)) == (MODEL, "primary", 1)
    assert two.fallbacks == [reason]
    assert len(two.candidate.calls) == 1


async def test_a_passed_deadline_has_no_fallback() -> None:
    two = TwoModels(1)
    two.candidate.error = EngineTimeout("too late")
    with pytest.raises(EngineTimeout):
        await two.answer()
    assert (two.fallbacks, two.primary.calls) == ([], [])


async def test_a_candidate_that_is_named_has_no_fallback() -> None:
    two = TwoModels()
    two.candidate.error = EngineUnavailable("gone")
    with pytest.raises(EngineUnavailable):
        await two.answer(Options(boxes=(BOX,), model="next"))
    assert (two.fallbacks, two.primary.calls) == ([], [])


async def test_the_primarys_failure_is_the_requests() -> None:
    two = TwoModels(1)
    two.candidate.error, two.primary.error = EngineUnavailable("gone"), EngineOverloaded("full")
    with pytest.raises(EngineOverloaded):
        await two.answer()


async def test_until_the_candidate_is_up_the_primary_answers() -> None:
    two = TwoModels(1)
    assert (await two.answer(is_up=False)).model == MODEL
    assert two.gateway.models == (MODEL,)
    with pytest.raises(ServiceError, match="and a candidate that is not up yet") as caught:
        two.canary.route("next")
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_the_start_of_a_candidate_is_retried_until_it_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        assert two.canary.models == (MODEL,)
        pauses.append(seconds)
        two.candidate.is_ready = len(pauses) > 5

    two = TwoModels()
    two.candidate.failures = [EngineFailure("wrong"), *[EngineUnavailable("gone")] * 3]
    two.candidate.is_ready = False
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await two.canary.bring_up(two.candidate)
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert two.candidate.starts == 7
    assert two.canary.models == (MODEL, NEXT)


# ---------------------------------------------------------------- the model to compare with


async def test_the_counterpart_is_the_other_model() -> None:
    two = TwoModels()
    await two.canary.bring_up(two.candidate)
    for name, other in (("fake", NEXT), ("next", MODEL)):
        prediction = await predict(two, Options(boxes=(BOX,), model=name))
        counterpart = two.canary.counterpart(prediction)
        assert counterpart is not None
        assert counterpart.models == (other,)


async def test_there_is_no_counterpart_before_the_candidate_is_up_and_after_a_fallback() -> None:
    two = TwoModels(1)
    assert two.canary.counterpart(await predict(two)) is None
    await two.canary.bring_up(two.candidate)
    two.candidate.error = EngineUnavailable("gone")
    fallback = await predict(two)
    assert (fallback.role, fallback.is_fallback) == ("primary", True)
    assert two.canary.counterpart(fallback) is None


async def test_a_candidate_of_another_layout_answers_but_is_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    layout = replace(NEXT.metadata.layout, name="renamed")
    candidate = NextEngine(replace(NEXT, metadata=replace(NEXT.metadata, layout=layout)))
    two = TwoModels(1, candidate=candidate)
    await two.canary.bring_up(two.candidate)
    assert "the candidate has the layout renamed and the primary wflw98: the two are not compared" in caplog.messages
    prediction = await predict(two)
    assert prediction.role == "candidate"
    assert two.canary.counterpart(prediction) is None


async def predict(two: TwoModels, options: Options = ONE_BOX) -> Prediction:
    """The canary's prediction for one region of a black image."""
    image = DecodedImage(np.zeros((240, 320, 3), np.uint8))
    region = Region(np.array(BOX, np.float32), "given", None)
    return await two.canary.faces(image, [region], options, Deadline.after(10.0))
