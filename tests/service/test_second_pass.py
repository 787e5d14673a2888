"""The landmarker's second pass, with a network written by hand that always finds a face in the middle of its crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.flip import mirror_points
from landmarks.layout import WFLW98
from landmarks.metadata import PointsCrop
from landmarks.second_pass import Refine
from landmarks.uncertainty import Plausibility
from service.answer import Face, Region
from service.deadline import Deadline
from service.errors import ServiceError
from service.images.decode import DecodedImage
from service.landmarker import EngineLandmarker
from service.request import Options, check_options
from tests.fakes import MODEL, FakeEngine

RULE = PointsCrop(scale=1.25, rise=0.0)
METADATA = replace(MODEL.metadata, points_crop=RULE)
SIZE = METADATA.codec.input_size.width
BOX = (100.0, 100.0, 200.0, 200.0)


def face_points(roll: float = 0.0, zoom: float = 1.0, shift: float = 0.0) -> NDArray[np.float32]:
    """A face whose box has `zoom` times the side at which RULE gives the crop itself, rolled and moved right."""
    points = np.zeros((98, 2))
    half = zoom * SIZE / RULE.scale / 2
    points[0], points[32], points[16], points[35] = [-half, 0], [half, 0], [0, half], [0, -half]
    points[list(WFLW98.groups["right_eye"] + WFLW98.groups["left_eye"])] = [0, -half / 2]
    points[list(WFLW98.groups["outer_lips"])] = [0, half / 2]
    c, s = math.cos(roll), math.sin(roll)
    moved: NDArray[np.float64] = points @ np.array([[c, s], [-s, c]]) + (SIZE - 1) / 2 + [shift * SIZE, 0]
    return moved.astype(np.float32)


MIRRORED = mirror_points(face_points(), SIZE, WFLW98)


class TwoAnswers(FakeEngine):
    """Answers its first crops with the `first` points, one after the other, and all later ones as an upright face in a
    in a mirror."""

    def __init__(self, *first: NDArray[np.float32]) -> None:
        super().__init__()
        self.model = replace(MODEL, metadata=METADATA)
        self.first = list(first)
        self.crops: list[NDArray[np.uint8]] = []

    async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
        decoded = await super().infer(crops, **options)
        self.crops.append(crops)
        points = np.stack([self.first.pop(0) if self.first else MIRRORED for _ in crops])
        return decoded._replace(points=points)


async def find(
    engine: TwoAnswers,
    options: Options,
    regions: int = 1,
    box: tuple[float, float, float, float] = BOX,
    box_scores: Sequence[float | None] | None = None,
) -> tuple[Face, ...]:
    """`box_scores`: of detected boxes; None stands for a given one."""
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    with ThreadPoolExecutor(1) as executor:
        landmarker = EngineLandmarker(engine, executor)
        boxes = [
            Region(np.array(box, np.float32), "given", None)
            if score is None
            else Region(np.array(box, np.float32), "detected", np.float32(score))
            for score in box_scores or [None] * regions
        ]
        return (await landmarker.faces(DecodedImage(pixels), boxes, options, Deadline.after(10))).faces


@pytest.mark.anyio
async def test_a_face_that_fills_its_crop_as_it_should_is_answered_once() -> None:
    engine = TwoAnswers(face_points())
    (face,) = await find(engine, Options())
    assert (len(engine.calls), face.passes) == (1, 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "points", [face_points(roll=0.4), face_points(zoom=0.8), face_points(zoom=1.2), face_points(shift=0.1)]
)
async def test_a_face_that_does_not_is_cropped_again_where_the_first_answer_saw_it(points: NDArray[np.float32]) -> None:
    engine = TwoAnswers(points)
    (face,) = await find(engine, Options())
    assert (len(engine.calls), face.passes) == (2, 2)
    # the second answer is a face in the middle of the second crop, which was made about the first answer's points
    first = TwoAnswers(points)
    (expected,) = await find(first, Options(refine="never"))
    assert face.points == pytest.approx(expected.points, abs=0.01)
    assert expected.passes == 1


@pytest.mark.anyio
async def test_the_second_crop_is_upright_and_mirrored() -> None:
    """The image rolled by a quarter turn is seen in the second crop as the first crop of the image before the roll,
    in a mirror."""
    engine = TwoAnswers(face_points(roll=math.pi / 2))
    await find(engine, Options())
    first, second = (crops[0].astype(int) for crops in engine.crops)
    # a face rolled clockwise is turned counterclockwise to be upright
    assert np.abs(np.rot90(first, 1)[:, ::-1] - second).mean() < 1


@pytest.mark.anyio
async def test_only_the_faces_that_need_it_are_answered_again_in_one_call() -> None:
    engine = TwoAnswers(face_points(), face_points(roll=0.4), face_points(zoom=0.7))
    found = await find(engine, Options(), regions=3)
    assert [face.passes for face in found] == [1, 2, 2]
    assert [shape[0] for shape, *_ in engine.calls] == [3, 2]


@pytest.mark.anyio
async def test_the_option_decides() -> None:
    rolled, still = face_points(roll=0.4), face_points()
    passes = {}
    for refine in ("never", "auto", "always"):
        options = Options.model_validate({"refine": refine})
        passes[refine] = [face.passes for face in await find(TwoAnswers(rolled, still), options, regions=2)]
    assert passes == {"never": [1, 1], "auto": [2, 1], "always": [2, 2]}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("box_scores", "unsure", "refine", "passes"),
    [
        # beside a certain face, a box that the detector doubts as well as the first answer
        ((0.9, 0.4), {1}, "auto", [2, 1]),
        ((0.9, 0.4), {1}, "always", [2, 2]),
        # of the two only the one doubts
        ((0.9, 0.6), {1}, "auto", [2, 2]),
        ((0.9, 0.4), set(), "auto", [2, 2]),
        # a photograph that lies on its side: nothing in it is certain
        ((0.9, 0.4), {0, 1}, "auto", [2, 2]),
        # the caller's own boxes
        ((0.9, None), {1}, "auto", [2, 2]),
    ],
)
async def test_a_box_without_a_face_is_not_refined_beside_a_certain_face(
    box_scores: tuple[float | None, ...], unsure: set[int], refine: Refine, passes: list[int]
) -> None:
    class Unsure(TwoAnswers):
        async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
            decoded = await super().infer(crops, **options)
            if len(self.calls) == 1:
                decoded.covariances[list(unsure)] *= 1e4  # expected errors larger than the face
            return decoded

    found = await find(Unsure(*[face_points(roll=0.4)] * 2), Options(refine=refine), box_scores=box_scores)
    assert [face.passes for face in found] == passes


@pytest.mark.anyio
async def test_both_passes_are_made_with_the_same_options() -> None:
    engine = TwoAnswers(*[face_points(roll=0.4)] * 2)
    await find(engine, Options(topk=4, decoder="topk", flip=True))
    assert [(shape[0], topk, decoder) for shape, topk, _, decoder in engine.calls] == [(2, 4, "topk"), (2, 4, "topk")]


@pytest.mark.anyio
async def test_a_model_that_does_not_tell_how_answers_once() -> None:
    engine = TwoAnswers(face_points(roll=0.4))
    engine.model = MODEL
    (face,) = await find(engine, Options())
    assert (len(engine.calls), face.passes) == (1, 1)
    check_options(Options(refine="auto"), MODEL, 1)
    with pytest.raises(ServiceError, match="does not refine"):
        check_options(Options(refine="always"), MODEL, 1)


@pytest.mark.anyio
@pytest.mark.parametrize(("left", "passes", "plausible"), [(100.0, 1, False), (-60.0, 1, True), (-60.0, 2, True)])
async def test_a_face_that_the_edge_cuts_is_not_doubted_for_its_proportions(
    left: float, passes: int, plausible: bool
) -> None:
    class Sure(TwoAnswers):
        async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
            decoded = await super().infer(crops, **options)
            return decoded._replace(covariances=decoded.covariances * 0 + np.eye(2, dtype=np.float32) * 1e-4)

    engine = Sure(face_points())
    implausible = Plausibility((0.0,) * (3 * 98), -40.0)
    engine.model = replace(MODEL, metadata=replace(METADATA, plausibility=implausible))
    box = (left, 100.0, left + 100, 200.0)
    (face,) = await find(engine, Options(refine="always" if passes == 2 else "never"), box=box)
    assert face.passes == passes
    assert face.score == pytest.approx(1.0 if plausible else 0.0, abs=1e-3)
