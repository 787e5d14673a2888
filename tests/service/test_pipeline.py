import asyncio
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pillow

from service.answer import STAGES
from service.deadline import Deadline
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind, ServiceError
from service.request import Options
from tests.fakes import FakeDetector, FakeEngine, encoded, make_gateway, picture
from tests.service.images.profiles import red_and_blue_swapped


def detect(options=None, detector=None, engine=None, data=None, timeout=10.0):
    gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector())
    work = gateway.pipeline.detect(data or encoded(picture()), options or Options(), Deadline.after(timeout))
    return asyncio.run(work)


def test_points_come_back_in_image_pixels():
    # the box's centre is (100, 80), its longer side 102.4; the crop is 1.25 times that, 128 pixels shown as 256:
    # crop pixel c is image pixel 100 - 64 + (c + 0.5) / 2 - 0 horizontally, the centre of the crop being c = 127.5
    (face,) = detect(Options(boxes=((48.8, 60.0, 151.2, 100.0),))).faces
    np.testing.assert_allclose(face.points[0], [100 - 63.75, 80 - 63.75], atol=1e-4)
    np.testing.assert_allclose(face.points[97], [100 - 63.75 + 48.5, 80 - 63.75 + 97], atol=1e-4)
    # half the scale, a quarter of the variance
    np.testing.assert_allclose(face.covariances[5], [1.0, 0.25, 0.5], atol=1e-5)
    # points 60 and 72 are (12, 24) crop pixels apart
    assert float(face.inter_ocular) == pytest.approx(math.hypot(6, 12), abs=1e-4)
    # expected errors of 2.4 pixels over a box of points of 97 x 194
    assert float(face.score) == pytest.approx(1.0, abs=1e-4)
    assert (face.region.source, face.region.score) == ("given", None)
    assert {a.dtype for a in (face.region.box, face.points, face.scores, face.covariances)} == {np.dtype(np.float32)}


def test_the_answer_names_model_size_and_stages():
    answer = detect()
    assert (answer.model.name, answer.model.version, answer.model.provenance) == ("fake", "7", "sha256:00")
    assert (answer.width, answer.height) == (320, 240)
    assert tuple(answer.timings_ms) == STAGES
    assert answer.timings_ms["total"] >= answer.timings_ms["decode"] > 0


def test_no_face_is_an_empty_list_and_asks_no_engine():
    engine = FakeEngine()
    assert detect(engine=engine).faces == ()
    assert engine.calls == []


def test_detected_faces_keep_the_detectors_order_and_the_largest_survive_max_faces():
    boxes = [((10.0, 10.0, 10.0 + side, 10.0 + side), side / 100) for side in (90, 80, 70, 60, 50)]
    found = FakeDetector(*boxes)
    assert [float(face.region.box[2]) for face in detect(detector=found).faces] == [100, 90, 80, 70]  # four at most
    two = detect(Options(max_faces=2), found).faces
    assert [float(face.region.score) for face in two] == pytest.approx([0.9, 0.8])
    assert {face.region.source for face in two} == {"detected"}
    assert len(detect(Options(max_faces=99), found).faces) == 4


def test_options_reach_the_engine_with_the_rest_of_the_deadline():
    engine = FakeEngine()
    detect(Options(boxes=((0, 0, 99, 99), (5, 5, 50, 50)), topk=4), engine=engine, timeout=9.0)
    ((shape, topk, timeout, decoder),) = engine.calls
    assert shape == (2, 256, 256, 3)
    assert (topk, decoder) == (4, None)
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
def test_a_bad_box_is_named(box, says):
    with pytest.raises(ServiceError, match=rf"box 1 \(.*\) .*{says}") as caught:
        detect(Options(boxes=((0, 0, 50, 50), box)))
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
def test_options_are_refused_before_the_image_is_looked_at(options, kind):
    with pytest.raises(ServiceError) as caught:
        detect(options, data=b"not an image")
    assert caught.value.kind is kind


def test_a_box_partly_outside_and_an_image_of_one_pixel_are_served():
    assert len(detect(Options(boxes=((-40, -40, 60, 60),))).faces) == 1
    assert len(detect(Options(boxes=((-0.5, -0.5, 0.5, 0.5),)), data=encoded(picture(1, 1))).faces) == 1


def test_the_engines_error_and_the_deadline_come_through():
    engine = FakeEngine()
    engine.error = EngineOverloaded("full")
    with pytest.raises(EngineOverloaded):
        detect(Options(boxes=((0, 0, 50, 50),)), engine=engine)

    async def stuck():
        waiting = FakeEngine()
        waiting.gate = asyncio.Event()
        await make_gateway(waiting, FakeDetector()).pipeline.detect(
            encoded(picture()), Options(boxes=((0, 0, 50, 50),)), Deadline.after(0.2)
        )

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(stuck())


def test_a_deadline_that_has_passed_is_refused_unworked():
    gateway = make_gateway(FakeEngine(), FakeDetector())
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(gateway.detect(encoded(picture()), Options(), Deadline.after(-1)))


def test_the_network_sees_srgb_and_the_caller_is_told_of_other_frames():
    class Seeing(FakeEngine):
        seen: np.ndarray

        async def infer(self, crops, **options):
            self.seen = crops
            return await super().infer(crops, **options)

    red = Pillow.new("RGB", (64, 64), (255, 0, 0))
    buffer, engine = BytesIO(), Seeing()
    red.save(
        buffer, "PNG", save_all=True, append_images=[Pillow.new("RGB", (64, 64))], icc_profile=red_and_blue_swapped()
    )
    answer = detect(Options(boxes=((0, 0, 63, 63),)), engine=engine, data=buffer.getvalue())
    np.testing.assert_allclose(engine.seen[0, 128, 128], (0, 0, 255), atol=2)
    assert [warning.code for warning in answer.warnings] == ["first_frame_only"]
