"""Pictures of pixels that are not square."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.layout import WFLW98
from service.answer import Face
from service.deadline import Deadline
from service.errors import ServiceError
from service.images.limits import ImageLimits
from service.landmarker import EngineLandmarker
from service.pipeline import Pipeline, PipelineLimits
from service.pixel_aspect import MAX_PIXEL_ASPECT, MIN_PIXEL_ASPECT, SQUARE, Stretch
from service.request import Options
from tests.fakes import FakeDetector, FakeEngine, gradient_image


async def detect(options: Options, *found: Any, max_pixels: int = 400_000) -> tuple[Any, Any]:
    """The answer for the gradient image, 320 x 240, and the size of the image that the detector saw."""
    seen = []

    class SeeingDetector(FakeDetector):
        async def detect(self, image: np.ndarray, **options: Any) -> Any:
            seen.append(image.shape)
            return await super().detect(image, **options)

    limits = PipelineLimits(ImageLimits(10**6, max_pixels, 5000), max_faces=4, min_score=0.0)
    _, data = cv2.imencode(".png", gradient_image()[..., ::-1])
    with ThreadPoolExecutor(1) as executor:
        landmarker = EngineLandmarker(FakeEngine(), executor)
        pipeline = Pipeline(landmarker, SeeingDetector(*found), executor, limits)
        return await pipeline.detect(data.tobytes(), options, Deadline.after(10)), seen


@pytest.mark.anyio
async def test_a_squeezed_picture_is_searched_with_square_pixels_and_answered_in_its_own() -> None:
    answer, seen = await detect(Options(pixel_aspect=2.0), ((99.5, 49.5, 199.5, 149.5), 0.9))
    assert seen == [(240, 640, 3)]
    assert (answer.image.width, answer.image.height) == (320, 240)
    (face,) = answer.faces
    # the edges of pixels: 100 and 200 of the stretched picture are 50 and 100 of the squeezed one
    assert face.box == pytest.approx([49.5, 49.5, 99.5, 149.5])
    (square,) = (await detect(Options(), ((99.5, 49.5, 199.5, 149.5), 0.9)))[0].faces
    assert face.points[:, 0] == pytest.approx((square.points[:, 0] + 0.5) / 2 - 0.5, abs=1e-4)
    assert face.points[:, 1] == pytest.approx(square.points[:, 1], abs=1e-4)
    assert face.covariances == pytest.approx(square.covariances / [4, 2, 1], rel=1e-5)
    assert face.inter_ocular == pytest.approx(np.linalg.norm(face.points[60] - face.points[72]), rel=1e-5)
    assert face.score == square.score


@pytest.mark.anyio
async def test_pixels_higher_than_wide_stretch_the_height() -> None:
    answer, seen = await detect(Options(pixel_aspect=0.5), ((0.0, 99.5, 100.0, 199.5), 0.9))
    assert seen == [(480, 320, 3)]
    assert answer.faces[0].box == pytest.approx([0, 49.5, 100, 99.5])


@pytest.mark.anyio
async def test_a_given_box_is_in_pixels_of_the_picture_and_comes_back_as_given() -> None:
    box = (10.0, 20.0, 60.0, 120.0)
    answer, _ = await detect(Options(pixel_aspect=2.0, boxes=(box,)))
    assert answer.faces[0].box.tolist() == list(box)
    square, _ = await detect(Options(boxes=((20.5, 20.0, 120.5, 120.0),)))
    assert answer.faces[0].points[:, 0] == pytest.approx((square.faces[0].points[:, 0] + 0.5) / 2 - 0.5, abs=1e-4)
    with pytest.raises(ServiceError, match=r"box 0 .* lies outside the image of 320 x 240 pixels"):
        await detect(Options(pixel_aspect=2.0, boxes=((330.0, 0.0, 400.0, 50.0),)))


@pytest.mark.anyio
async def test_the_limits_hold_for_the_stretched_picture() -> None:
    with pytest.raises(ServiceError, match="pixels"):
        await detect(Options(pixel_aspect=4.0), max_pixels=200_000)


def test_square_pixels_change_nothing() -> None:
    image = gradient_image()
    assert Stretch.of(1.0) == SQUARE
    assert SQUARE.pixels(image) is image


@given(st.floats(MIN_PIXEL_ASPECT, MAX_PIXEL_ASPECT), st.floats(0, 1000), st.floats(0, 1000))
def test_points_go_there_and_back(aspect: float, x: float, y: float) -> None:
    stretch, one = Stretch.of(aspect), np.float32(1)
    box = np.array([x, y, x + 10, y + 10], np.float32)
    there = stretch.box(box)
    points = np.tile(there[:2], (98, 1))
    face = Face(there, "detected", one, one, one, points, points[:, 0], np.zeros((98, 3), np.float32))
    (back,) = stretch.faces((face,), WFLW98, ())
    assert back.box == pytest.approx(box, rel=1e-5, abs=1e-3)
    assert back.points[0] == pytest.approx(box[:2], rel=1e-5, abs=1e-3)


def test_a_dot_is_where_its_coordinates_say() -> None:
    image = np.zeros((20, 101, 3), np.uint8)
    image[10, 50] = 255
    stretched = Stretch.of(1.5).pixels(image)[..., 0].astype(float)
    columns = np.arange(stretched.shape[1])
    seen = (stretched.sum(axis=0) * columns).sum() / stretched.sum()
    assert seen == pytest.approx(50.5 * 1.5 - 0.5, abs=0.2)
