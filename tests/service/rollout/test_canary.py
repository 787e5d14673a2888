"""Which model answers: shares, names, and what a candidate that fails costs."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landmarks.codec import CodecSpec, Decoded
from service.answer import Answer, ServedModel
from service.deadline import Deadline
from service.engines.port import (
    EngineError,
    EngineFailure,
    EngineOverloaded,
    EngineTimeout,
    EngineUnavailable,
)
from service.errors import ErrorKind, ServiceError
from service.request import Options
from service.rollout.canary import Rollout, Share, parse_share
from service.rollout.shadow import Comparison
from tests.fakes import MODEL, FakeDetector, FakeEngine, encoded, make_gateway, picture

NEXT = ServedModel("next", "1", "sha256:11", replace(MODEL.metadata, name="next", codec=CodecSpec(input_size=128)))
BOX = (48.8, 60.0, 151.2, 100.0)
ASKED = Options(boxes=(BOX,))


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

    async def infer(self, crops: np.ndarray, *, topk: int | None = None, deadline: Deadline | None = None) -> Decoded:
        decoded = await super().infer(crops, topk=topk, deadline=deadline)
        return decoded._replace(points=decoded.points + np.array([3, 4], np.float32))


class Two:
    """A primary, a candidate that is up, and a gateway in front."""

    def __init__(self, share: float = 0.0, draw: Any = lambda: 0.5, candidate: NextEngine | None = None) -> None:
        self.primary, self.candidate = FakeEngine(), candidate or NextEngine()
        self.fallbacks: list[str] = []
        self.distances: list[float] = []
        self.rollout = Rollout(self.primary, self.candidate, lambda: share, self.fallbacks.append, draw)
        self.comparison = Comparison(1.0, self.distances.append)
        self.gateway = make_gateway(
            self.primary, FakeDetector(), rollout=self.rollout, comparison=self.comparison, max_in_flight=99
        )

    async def ask(self, options: Options = ASKED) -> Answer:
        await self.rollout.bring_up()
        answer = await self.gateway.pipeline.detect(encoded(picture()), options, Deadline.after(10.0))
        await self.comparison.settled()
        return answer

    def answer(self, options: Options = ASKED) -> Answer:
        return asyncio.run(self.ask(options))

    def refusal(self, options: Options) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            self.answer(options)
        return caught.value


# ---------------------------------------------------------------- who is asked


@pytest.mark.parametrize(
    ("share", "drawn", "name"),
    [(0, 0.0, "fake"), (1, 0.999, "next"), (0.5, 0.49, "next"), (0.5, 0.5, "fake")],
)
def test_the_share_decides_for_requests_that_name_no_model(share: float, drawn: float, name: str) -> None:
    answer = Two(share, lambda: drawn).answer()
    assert (answer.model.name, answer.role) == (name, {"fake": "primary", "next": "candidate"}[name])


def test_a_quarter_of_many_requests_is_a_quarter() -> None:
    two = Two(0.25, random.Random(7).random)
    asyncio.run(two.rollout.bring_up())
    asked = Counter(two.rollout.order(None)[0].role for _ in range(4000))
    assert asked["candidate"] == pytest.approx(1000, abs=100)


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("name", ["fake", "next"])
def test_a_name_stands_above_the_share(share: float, name: str) -> None:
    assert Two(share).answer(Options(boxes=(BOX,), model=name)).model.name == name


def test_both_models_are_listed_and_an_unknown_name_is_told_so() -> None:
    two = Two()
    refusal = two.refusal(Options(boxes=(BOX,), model="other"))
    assert refusal.kind is ErrorKind.UNKNOWN_MODEL
    assert refusal.message == "no model 'other' is served; there is 'fake' and 'next'"
    assert two.gateway.models == (MODEL, NEXT)


def test_a_name_that_both_bear_is_as_none() -> None:
    same = NextEngine(replace(NEXT, name="fake"))
    assert Two(1, candidate=same).answer(Options(boxes=(BOX,), model="fake")).model.provenance == "sha256:11"
    assert Two(0, candidate=same).answer(Options(boxes=(BOX,), model="fake")).model.provenance == "sha256:00"


def test_each_model_gets_crops_as_it_wants_them() -> None:
    # see test_pipeline: the crop shows 128 pixels of the image around (100, 80); here a crop's pixel is one of them
    two = Two(1)
    (face,) = two.answer().faces
    np.testing.assert_allclose(face.points[5], [100 - 63.5 + 5 + 3, 80 - 63.5 + 10 + 4], atol=1e-4)
    assert [shape for shape, *_ in two.candidate.calls] == [(1, 128, 128, 3)]
    assert [shape for shape, *_ in two.primary.calls] == [(1, 256, 256, 3)]  # to compare


def test_options_are_checked_for_whoever_may_answer() -> None:
    named = Options(
        boxes=(BOX,), model="next", topk=1025
    )  # the candidate's maps have 32 x 32 cells, the primary's 64 x 64
    assert Two().refusal(named).kind is ErrorKind.INVALID_REQUEST
    assert Two().answer(Options(boxes=(BOX,), model="fake", topk=1025)).model.name == "fake"


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
def test_what_the_candidate_fails_to_answer_the_primary_answers(error: EngineError, reason: str) -> None:
    two = Two(1)
    two.candidate.error = error
    answer = two.answer()
    assert (answer.model, answer.role, len(answer.faces)) == (MODEL, "primary", 1)
    assert two.fallbacks == [reason]
    assert len(two.candidate.calls) == 1  # it is not asked again in order to compare


def test_the_requests_own_deadline_is_nobodys_to_make_up_for() -> None:
    two = Two(1)
    two.candidate.error = EngineTimeout("too late")
    with pytest.raises(EngineTimeout):
        two.answer()
    assert (two.fallbacks, two.primary.calls) == ([], [])


def test_who_names_the_candidate_is_told_of_its_failure() -> None:
    two = Two()
    two.candidate.error = EngineUnavailable("gone")
    with pytest.raises(EngineUnavailable):
        two.answer(Options(boxes=(BOX,), model="next"))
    assert (two.fallbacks, two.primary.calls) == ([], [])


def test_the_primarys_failure_is_the_requests() -> None:
    two = Two(1)
    two.candidate.error, two.primary.error = EngineUnavailable("gone"), EngineOverloaded("full")
    with pytest.raises(EngineOverloaded):
        two.answer()


def test_a_candidate_that_is_not_up_is_done_without() -> None:
    two = Two(1)
    assert asyncio.run(two.gateway.pipeline.detect(encoded(picture()), ASKED, Deadline.after(10.0))).model == MODEL
    assert two.gateway.models == (MODEL,)
    with pytest.raises(ServiceError, match="and a candidate that is not up yet") as caught:
        two.rollout.order("next")
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_a_candidate_is_tried_until_it_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        assert two.rollout.models == (MODEL,)
        pauses.append(seconds)
        two.candidate.is_ready = len(pauses) > 5

    two = Two()
    two.candidate.failures = [EngineFailure("wrong"), *[EngineUnavailable("gone")] * 3]
    two.candidate.is_ready = False
    monkeypatch.setattr("service.rollout.canary.asyncio.sleep", sleep)
    asyncio.run(two.rollout.bring_up())
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert two.candidate.starts == 7
    assert two.rollout.models == (MODEL, NEXT)


# ---------------------------------------------------------------- compared


@pytest.mark.parametrize("share", [0, 1])
def test_the_two_are_compared_in_image_pixels(share: float) -> None:
    two = Two(share)
    two.answer()
    # point i is at (36.25 + i / 2, 16.25 + i) for the primary, see test_pipeline, and at (39.5 + i, 20.5 + 2 i) for the
    # candidate; the primary's corners of the eyes are (6, 12) apart
    apart = [math.hypot(3.25 + i / 2, 4.25 + i) for i in range(98)]
    assert two.distances == pytest.approx([sum(apart) / 98 / math.hypot(6, 12)], abs=1e-5)


def test_an_answer_waits_for_no_comparison() -> None:
    async def run() -> tuple[Answer, list[float]]:
        two = Two(0)
        await two.rollout.bring_up()
        two.candidate.gate = asyncio.Event()
        answer = await two.gateway.pipeline.detect(encoded(picture()), ASKED, Deadline.after(10.0))
        await two.candidate.arrived.wait()
        assert two.distances == []
        two.candidate.gate.set()
        await two.comparison.settled()
        return answer, two.distances

    answer, distances = asyncio.run(run())
    assert (answer.model, len(distances)) == (MODEL, 1)


# ---------------------------------------------------------------- the share's file


def test_the_file_stands_above_the_setting_and_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "share"
    path.write_text("0.25\n")
    share = Share(0.0, path)
    assert share() == 0.25
    fresh = tmp_path / "fresh"
    fresh.write_text("1")
    fresh.replace(path)
    share.look()
    assert share() == 1
    assert "the candidate's share is now 1, was 0.25" in caplog.messages


@pytest.mark.parametrize("content", ["", "half", "1.5", "-0.1", "nan", "50%", "0.1 0.2", b"\xff\xfe"])
def test_nonsense_leaves_the_share_as_it_was_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | bytes
) -> None:
    path = tmp_path / "share"
    path.write_text("0.5")
    share = Share(0.0, path)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    share.look()
    share.look()
    assert share() == 0.5
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    path.unlink()
    share.look()
    assert share() == 0.5
    path.write_text("0")
    share.look()
    assert share() == 0


def test_without_its_file_the_setting_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Share(0.1, tmp_path / "none")() == 0.1
    assert "the candidate's share stays 0.1" in caplog.text


def test_the_file_is_looked_at_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "share"
    path.write_text("0")
    share = Share(0.0, path)
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        assert seconds == 1
        seen.append(share())
        path.write_text(str(len(seen) / 4))
        if len(seen) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr("service.rollout.canary.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(share.follow())
    assert seen == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("text", "value"), [("0", 0), (" 1.0\n", 1), ("1e-3", 0.001)])
def test_a_share_is_a_number_from_0_to_1(text: str, value: float) -> None:
    assert parse_share(text) == value
