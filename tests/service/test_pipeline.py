"""The pipeline and the landmarker of one model, over fakes: numbers by hand, and what is refused."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from landmarks.codec import Decoded
from landmarks.detection import Detections
from service.answer import STAGES, Answer, Face
from service.deadline import Deadline, DeadlineExceeded
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind, ServiceError
from service.images.limits import ImageLimits
from service.landmarker import EngineLandmarker, Prediction, unknown_model_message
from service.pipeline import Pipeline, PipelineLimits, confident_first
from service.request import Options
from tests.fakes import MODEL, FakeDetector, FakeEngine, encoded, gradient_image, make_gateway
from tests.service.images.profiles import red_and_blue_swapped

pytestmark = pytest.mark.anyio

ONE_BOX = Options(boxes=((0, 0, 50, 50),))


class SeeingEngine(FakeEngine):
    """Keeps the crops that it was given last."""

    crops: np.ndarray

    async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
        self.crops = crops
        return await super().infer(crops, **options)


class UncertainEngine(FakeEngine):
    """Answers crop i with expected errors of `ratios[i]` times the error at which a face's score is 0.5.

    By definition its score is 1 / (1 + ratio^7.45): 0.9943 for 0.5, 1/2 for 1, 0.0057 for 2. The points' box is
    97 x 194.
    """

    def __init__(self, *ratios: float) -> None:
        super().__init__()
        self.ratios = ratios

    async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
        points, scores, covariances, visibility = await super().infer(crops, **options)
        variance = [(0.0542 * ratio) ** 2 * 97 * 194 / 2 for ratio in self.ratios[: len(crops)]]
        covariances[:] = np.array(variance, np.float32)[:, None, None, None] * np.eye(2, dtype=np.float32)
        return Decoded(points, scores, covariances, visibility)


async def detect(
    options: Options | None = None,
    detector: FakeDetector | None = None,
    engine: FakeEngine | None = None,
    data: bytes | None = None,
    timeout: float = 10.0,
    **limits: Any,
) -> Answer:
    gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **limits)
    image = encoded(gradient_image()) if data is None else data
    return await gateway.pipeline.detect(image, options or Options(), Deadline.after(timeout))


async def faces(*arguments: Any, **options: Any) -> tuple[Face, ...]:
    return (await detect(*arguments, **options)).faces


async def test_points_are_answered_in_image_pixels() -> None:
    # the box's centre is (100, 80), its longer side 102.4; the crop is 1.25 times that, 128 pixels shown as 256:
    # crop pixel c is image pixel 100 - 64 + (c + 0.5) / 2 - 0 horizontally, the centre of the crop being c = 127.5
    (face,) = await faces(Options(boxes=((48.8, 60.0, 151.2, 100.0),)))
    np.testing.assert_allclose(face.points[0], [100 - 63.75, 80 - 63.75], atol=1e-4)
    np.testing.assert_allclose(face.points[97], [100 - 63.75 + 48.5, 80 - 63.75 + 97], atol=1e-4)
    # half the scale, a quarter of the variance
    np.testing.assert_allclose(face.covariances[5], [1.0, 0.25, 0.5], atol=1e-5)
    np.testing.assert_allclose(face.scores[[0, 97]], [0.5 / 98, 97.5 / 98], rtol=1e-6)
    # points 60 and 72 are (12, 24) crop pixels apart
    assert float(face.inter_ocular) == pytest.approx(math.hypot(6, 12), abs=1e-4)
    # expected errors of 2.4 pixels over a box of points of 97 x 194
    assert float(face.score) == pytest.approx(1.0, abs=1e-3)
    assert (face.box_source, face.box_score) == ("given", None)
    assert {a.dtype for a in (face.box, face.points, face.scores, face.covariances)} == {np.dtype(np.float32)}


async def test_the_answer_names_model_size_and_stages() -> None:
    answer = await detect()
    assert (answer.model.name, answer.model.version, answer.model.provenance) == ("fake", "7", "sha256:00")
    assert (answer.image.width, answer.image.height) == (320, 240)
    assert tuple(answer.timings_ms) == STAGES
    assert answer.timings_ms["total"] >= answer.timings_ms["decode"] > 0


async def test_the_answer_names_the_model_of_its_faces_and_what_to_omit() -> None:
    answer = await detect(Options(boxes=((0, 0, 50, 50),), omit=frozenset({"scores"})))
    assert (answer.model, answer.role, answer.omit) == (MODEL, "primary", frozenset({"scores"}))


async def test_the_answer_has_the_role_of_the_prediction() -> None:
    class Candidate(EngineLandmarker):
        async def faces(self, *arguments: Any) -> Prediction:
            return replace(await super().faces(*arguments), role="candidate")

    with ThreadPoolExecutor(1) as executor:
        answer = await detect(ONE_BOX, landmarker=Candidate(FakeEngine(), executor))
    assert answer.role == "candidate"


async def test_the_crop_is_the_part_of_the_image_around_the_box() -> None:
    # the centre of the box is (150, 120), its longer side 51.2 and 1.25 times that 64: a fourth of the crop's 256
    # pixels, so that crop pixels 4 i + 1 and 4 i + 2 lie 1/8 of an image pixel left and right of image pixel 118.5 + i
    image, engine = gradient_image(), SeeingEngine()
    await detect(Options(boxes=((124.4, 100.0, 175.6, 140.0),)), engine=engine, data=encoded(image))
    assert (engine.crops.shape, engine.crops.dtype) == ((1, 256, 256, 3), np.uint8)
    means = engine.crops[0].reshape(64, 4, 64, 4, 3).astype(float).mean(axis=(1, 3))
    around = image[88:153, 118:183].astype(float)
    expected = (around[:-1, :-1] + around[1:, :-1] + around[:-1, 1:] + around[1:, 1:]) / 4
    np.testing.assert_allclose(means, expected, atol=1)


async def test_images_are_decoded_and_cropped_in_the_threads_given_for_it() -> None:
    class CountingExecutor(ThreadPoolExecutor):
        count = 0

        def submit(self, *arguments: Any, **options: Any) -> Any:
            self.count += 1
            return super().submit(*arguments, **options)

    limits = PipelineLimits(ImageLimits(100_000, 100_000, 1000), max_faces=4, min_score=0.0)
    with CountingExecutor(1) as decoding, CountingExecutor(1) as cropping:
        pipeline = Pipeline(EngineLandmarker(FakeEngine(), cropping), FakeDetector(), decoding, limits)
        await pipeline.detect(encoded(gradient_image()), ONE_BOX, Deadline.after(10))
        assert (decoding.count, cropping.count) == (2, 1)  # the header, and the pixels


async def test_the_detector_is_given_the_image_the_smallest_face_and_the_deadline() -> None:
    class SeeingDetector(FakeDetector):
        async def detect(
            self, image: np.ndarray, *, min_face: float | None = None, deadline: Deadline | None = None
        ) -> Detections:
            assert min_face == 60.0
            assert deadline is not None
            assert 0 < deadline.remaining() < 9.0
            np.testing.assert_array_equal(image, gradient_image())
            return await super().detect(image)

    (face,) = await faces(Options(min_face=60.0), detector=SeeingDetector(((10.0, 10.0, 90.0, 90.0), 0.5)), timeout=9.0)
    assert face.box.tolist() == [10, 10, 90, 90]
    assert face.box.dtype == np.float32
    assert isinstance(face.box_score, np.float32)


async def test_an_engine_that_answers_too_few_crops_is_an_error() -> None:
    class ForgetfulEngine(FakeEngine):
        async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
            return await super().infer(crops[1:], **options)

    with pytest.raises(ValueError, match="shorter"):
        await detect(Options(boxes=((0, 0, 50, 50), (9, 9, 50, 50))), engine=ForgetfulEngine())


async def test_a_detector_that_answers_too_few_scores_is_an_error() -> None:
    class ForgetfulDetector(FakeDetector):
        async def detect(self, image: np.ndarray, **options: Any) -> Detections:
            boxes, scores = await super().detect(image, **options)
            return Detections(boxes, scores[1:])

    with pytest.raises(ValueError, match="shorter"):
        await detect(detector=ForgetfulDetector(((10.0, 10.0, 90.0, 90.0), 0.5)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", "no model 'other' is served; there is 'fake'"),
        ("x" * 50, f"no model '{'x' * 40}' is served; there is 'fake'"),
    ],
)
async def test_a_request_for_another_model_is_told_what_is_served(name: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        await detect(Options(model=name))
    assert caught.value.message == message


def test_all_models_that_are_served_are_named() -> None:
    assert unknown_model_message("a", [MODEL, replace(MODEL, name="next")]) == (
        "no model 'a' is served; there is 'fake' and 'next'"
    )


async def test_no_face_is_an_empty_list_and_calls_no_engine() -> None:
    engine = FakeEngine()
    assert await faces(engine=engine) == ()
    assert engine.calls == []


async def test_faces_of_equal_score_keep_the_detectors_order_and_max_faces_leaves_the_first() -> None:
    boxes = [((10.0, 10.0, 10.0 + side, 10.0 + side), side / 100) for side in (90, 80, 70, 60, 50)]
    detector = FakeDetector(*boxes)
    four = await faces(detector=detector)  # the service's own limit
    assert [float(face.box[2]) for face in four] == [100, 90, 80, 70]
    two = await faces(Options(max_faces=2), detector)
    assert [float(face.box_score or 0) for face in two] == pytest.approx([0.9, 0.8])
    assert {face.box_source for face in two} == {"detected"}
    assert len(await faces(Options(max_faces=99), detector)) == 4


BOXES = [(0.0, 0.0, side, side) for side in (200.0, 150.0, 100.0, 50.0)]
"""The largest first, as detectors answer."""
COINS = FakeDetector(*((box, 1.0) for box in BOXES))


async def test_a_large_box_of_low_score_comes_after_the_faces() -> None:
    # 0.0057 for the largest box, 0.9943, 0.0057, 0.9943
    found = await faces(detector=COINS, engine=UncertainEngine(2, 0.5, 2, 0.5))
    assert [float(face.box[2]) for face in found] == [150, 50, 200, 100]
    assert [float(face.score) for face in found] == pytest.approx([0.9943, 0.9943, 0.0057, 0.0057], abs=1e-4)


async def test_among_faces_of_sufficient_score_the_largest_comes_first_however_certain_the_others_are() -> None:
    # 1 / (1 + 0.9^7.45) is 0.69, still more likely right than not
    found = await faces(detector=COINS, engine=UncertainEngine(0.9, 0.5, 0.1, 0.1))
    assert [float(face.box[2]) for face in found] == [200, 150, 100, 50]


async def test_a_face_as_likely_right_as_wrong_is_among_the_first() -> None:
    (face,) = await faces(ONE_BOX)
    scores = [0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0.9, 0.5]
    ordered = confident_first(tuple(replace(face, score=np.float32(score)) for score in scores))
    assert [face.score for face in ordered] == [np.float32(scores[i]) for i in (0, 2, 3, 1)]


async def test_max_faces_leaves_the_first_after_filter_and_order() -> None:
    engine = UncertainEngine(2, 0.5, 2, 0.5)
    assert [float(face.box[2]) for face in await faces(Options(max_faces=1), COINS, engine)] == [150]
    assert [float(face.box[2]) for face in await faces(Options(max_faces=3), COINS, engine)] == [150, 50, 200]
    (face,) = await faces(Options(max_faces=1, min_score=0.5), COINS, UncertainEngine(2, 2, 2, 0.5))
    assert float(face.box[2]) == 50


@pytest.mark.parametrize(
    ("setting", "option", "sides"),
    [
        (0.0, None, [150, 200, 100]),
        (0.1, None, [150]),
        (0.1, 0.0, [150, 200, 100]),  # a request may choose less than the setting
        (0.0, 0.1, [150]),
        (0.1, 0.999, []),
        (1.0, None, []),
    ],
)
async def test_detected_faces_below_the_least_score_are_not_answered(
    setting: float, option: float | None, sides: list[float]
) -> None:
    answer = await detect(
        Options(min_score=option), FakeDetector(*COINS.found[:3]), UncertainEngine(2, 0.5, 2), min_score=setting
    )
    assert [float(face.box[2]) for face in answer.faces] == sides
    assert answer.rejected == 3 - len(sides)


async def test_a_score_equal_to_the_least_is_answered() -> None:
    detector, engine = FakeDetector(*COINS.found[:1]), UncertainEngine(1.3)
    (face,) = await faces(detector=detector, engine=engine)
    assert len(await faces(Options(min_score=float(face.score)), detector, engine)) == 1
    assert len(await faces(Options(min_score=float(np.nextafter(face.score, np.float32(1)))), detector, engine)) == 0


async def test_faces_in_given_boxes_are_always_answered_in_their_order() -> None:
    options = Options(boxes=tuple(BOXES[:3]), min_score=1.0, max_faces=1)
    answer = await detect(options, engine=UncertainEngine(2, 0.5, 9), min_score=1.0)
    assert [float(face.box[2]) for face in answer.faces] == [200, 150, 100]
    assert answer.rejected == 0


async def test_the_landmarks_of_no_more_boxes_are_computed_than_the_setting_max_faces() -> None:
    engine = FakeEngine()
    detector = FakeDetector(*(((0.0, 0.0, side, side), 1.0) for side in (90.0, 80.0, 70.0, 60.0, 50.0)))
    assert len(await faces(Options(max_faces=1), detector, engine)) == 1
    assert [call[0] for call in engine.calls] == [(4, 256, 256, 3)]


@pytest.mark.parametrize(("threshold", "count"), [(None, 3), (0.0, 3), (0.6, 2), (0.7, 1), (0.91, 0)])
async def test_the_detector_threshold_is_inclusive(threshold: float | None, count: int) -> None:
    detector = FakeDetector(*(((10.0, 10.0, 90.0, 90.0), score) for score in (0.9, 0.6, 0.3)))
    assert len(await faces(Options(detector_threshold=threshold), detector)) == count


async def test_flip_averages_with_the_mirrored_crop() -> None:
    engine = SeeingEngine()
    (face,) = await faces(Options(boxes=((48.8, 60.0, 151.2, 100.0),), flip=True), engine=engine)
    np.testing.assert_array_equal(engine.crops[1], engine.crops[0, :, ::-1])
    # point i is at crop pixel (i, 2 i) in both; the chin, point 16, is its own mirror image: (16 + 255 - 16) / 2, 32.
    # Points 0 and 32 are a pair: (0 + 255 - 32) / 2, (0 + 64) / 2
    np.testing.assert_allclose(face.points[16], [100 - 63.75 + 127.5 / 2, 80 - 63.75 + 32 / 2], atol=1e-4)
    np.testing.assert_allclose(face.points[0], [100 - 63.75 + 111.5 / 2, 80 - 63.75 + 32 / 2], atol=1e-4)


async def test_options_reach_the_engine_with_the_rest_of_the_deadline() -> None:
    engine = FakeEngine()
    options = Options(boxes=((0, 0, 99, 99), (5, 5, 50, 50)), topk=4, decoder="topk")
    await detect(options, engine=engine, timeout=9.0)
    ((shape, topk, timeout, decoder),) = engine.calls
    assert shape == (2, 256, 256, 3)
    assert (topk, decoder) == (4, "topk")
    assert timeout is not None
    assert 0 < timeout < 9.0


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((1, 2, math.nan, 4), "not four finite"),
        ((1, 2, math.inf, 4), "not four finite"),
        ((9, 2, 3, 4), "inverted"),
        ((1, 4, 3, 4), "inverted or empty"),
        ((320, 0, 400, 100), "outside the image of 320 x 240"),
        ((-50, -50, -1, -1), "outside"),
        ((0, 240, 100, 300), "outside"),
        ((10, 10, 10.5, 10.5), "less than 1.0 pixel"),
        ((-1e30, -1e30, 1e30, 1e30), "100 times"),
    ],
)
async def test_a_bad_box_is_named(box: tuple[float, float, float, float], says: str) -> None:
    with pytest.raises(ServiceError, match=rf"box 1 \(.*\) .*{says}") as caught:
        await detect(Options(boxes=((0, 0, 50, 50), box)))
    assert caught.value.kind is ErrorKind.INVALID_BOX


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (Options(boxes=((0, 0, 9, 9),) * 5), ErrorKind.TOO_MANY_BOXES),
        (Options(topk=4097), ErrorKind.INVALID_REQUEST),
        (Options(model="other"), ErrorKind.UNKNOWN_MODEL),
        (Options(decoder="argmax", topk=2), ErrorKind.INVALID_REQUEST),
    ],
)
async def test_options_are_refused_before_the_image_is_decoded(options: Options, kind: ErrorKind) -> None:
    with pytest.raises(ServiceError) as caught:
        await detect(options, data=b"not an image")
    assert caught.value.kind is kind


async def test_a_box_partly_outside_and_an_image_of_one_pixel_are_served() -> None:
    assert len(await faces(Options(boxes=((-40, -40, 60, 60),)))) == 1
    assert len(await faces(Options(boxes=((-0.5, -0.5, 0.5, 0.5),)), data=encoded(gradient_image(1, 1)))) == 1


async def test_the_engines_error_is_raised() -> None:
    engine = FakeEngine()
    engine.error = EngineOverloaded("full")
    with pytest.raises(EngineOverloaded):
        await detect(ONE_BOX, engine=engine)


async def test_an_engine_that_hangs_is_given_up_at_the_deadline() -> None:
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    with pytest.raises(asyncio.TimeoutError):
        await detect(ONE_BOX, engine=engine, timeout=0.2)


async def test_after_the_deadline_no_work_is_done() -> None:
    engine = FakeEngine()
    with pytest.raises(DeadlineExceeded):
        await detect(ONE_BOX, engine=engine, timeout=-1)
    assert engine.calls == []


async def test_the_network_gets_srgb_and_the_answer_warns_of_further_frames() -> None:
    red = Pillow.new("RGB", (64, 64), (255, 0, 0))
    buffer, engine = BytesIO(), SeeingEngine()
    red.save(
        buffer, "PNG", save_all=True, append_images=[Pillow.new("RGB", (64, 64))], icc_profile=red_and_blue_swapped()
    )
    answer = await detect(Options(boxes=((0, 0, 63, 63),)), engine=engine, data=buffer.getvalue())
    np.testing.assert_allclose(engine.crops[0, 128, 128], (0, 0, 255), atol=2)
    assert [warning.code for warning in answer.warnings] == ["first_frame_only"]
