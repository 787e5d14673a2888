"""Objects that the shipped detector takes for faces, and how the service answers them with the shipped networks; and
the portrait whose answer the documents show.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from landmarks.detector import DetectorMetadata
from landmarks.repository import model_path
from service.answer import Answer
from service.deadline import Deadline
from service.detectors.backends import LocalDetectorBackend
from service.detectors.network import NetworkDetector
from service.engines.local import LocalEngine
from service.images.limits import ImageLimits
from service.landmarker import EngineLandmarker
from service.limits import DEFAULT_MIN_SCORE
from service.pipeline import Pipeline, PipelineLimits
from service.request import Options
from tests.conftest import ROOT
from tests.fakes import encoded

data = pytest.importorskip("skimage.data", reason="scikit-image ships the images")

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pipeline(model_repository: Path) -> AsyncIterator[Pipeline]:
    engine = LocalEngine(model_path(model_repository))
    await engine.start()
    with ThreadPoolExecutor(1) as executor:
        backend = LocalDetectorBackend(engine, model_path(model_repository, kind=DetectorMetadata))
        limits = PipelineLimits(ImageLimits(10**8, 10**8), max_faces=32, min_score=DEFAULT_MIN_SCORE)
        yield Pipeline(EngineLandmarker(engine, executor), NetworkDetector(backend, executor), executor, limits)
    await engine.close()


async def detect(pipeline: Pipeline, image: np.ndarray, extension: str = ".png", **options: Any) -> Answer:
    return await pipeline.detect(encoded(image, extension), Options(**options), Deadline.after(60))


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize(
    "name", ["coins", "cat", "retina", "brick", "coffee", "moon", "hubble_deep_field", "colorwheel"]
)
async def test_an_image_without_a_face_is_answered_without_one(pipeline: Pipeline, name: str, extension: str) -> None:
    assert (await detect(pipeline, getattr(data, name)(), extension)).faces == ()


async def test_the_least_score_of_zero_answers_the_coins(pipeline: Pipeline) -> None:
    answer = await detect(pipeline, data.coins(), min_score=0.0)
    assert len(answer.faces) > 10
    assert max(float(face.box_score or 0) for face in answer.faces) > 0.8  # the detector's own score does not help
    assert (await detect(pipeline, data.coins())).rejected == len(answer.faces)


async def test_a_retina_beside_a_portrait_does_not_come_first(pipeline: Pipeline) -> None:
    portrait, retina = data.astronaut(), cv2.resize(data.retina(), (512, 512), interpolation=cv2.INTER_AREA)
    both = np.concatenate([retina, portrait], axis=1)
    (face,) = (await detect(pipeline, both, max_faces=1)).faces
    assert face.score > 0.9
    assert 512 + 177 - 15 < face.box[0] < 512 + 177 + 15  # the astronaut's face
    everything = (await detect(pipeline, both, min_score=0.0)).faces
    assert len(everything) >= 2  # the retina is a box of the detector's
    np.testing.assert_array_equal(everything[0].points, face.points)


@pytest.mark.parametrize("document", ["README.md", "docs/api.md"])
async def test_the_portrait_is_answered_as_the_documents_say(pipeline: Pipeline, document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    (face,) = (await detect(pipeline, data.astronaut())).faces
    (box,) = re.findall(r'"box": (\[.*?\])', text)
    assert json.loads(box) == [round(float(value), 1) for value in face.box]
    for name, digits in (("box_score", 3), ("score", 2), ("inter_ocular", 1)):
        (number,) = re.findall(rf'"{name}": ([\d.]+)', text)
        assert float(number) == round(float(getattr(face, name)), digits), name


async def test_a_coin_whose_box_is_given_is_answered(pipeline: Pipeline) -> None:
    (coin,) = (await detect(pipeline, data.coins(), boxes=((330.0, 162.0, 371.0, 209.0),))).faces
    assert coin.score < 0.05


@pytest.mark.parametrize(("width", "height", "limit"), [(256, 512, 0.75), (512, 256, 0.25)])
async def test_a_squeezed_face_has_a_lower_score(pipeline: Pipeline, width: int, height: int, limit: float) -> None:
    """Its covariances are narrow. Half the width of this face is one of the cases that are told least well."""
    portrait = data.astronaut()
    squeezed = cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)
    everything = (await detect(pipeline, squeezed, min_score=0.0)).faces
    assert everything
    assert max(float(face.score) for face in everything) < limit
    assert (await detect(pipeline, portrait)).faces[0].score > 0.99
    (face,) = (await detect(pipeline, squeezed, pixel_aspect=height / width, max_faces=1)).faces
    assert face.score > 0.9
