"""A network of rectangular crops: exported, and served by a real Triton and in the gateway."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from landmarks.codec import CodecSpec
from landmarks.layout import PointLayout
from landmarks.metadata import ModelMetadata, PointsCrop
from landmarks.size import Size
from tests.e2e.test_gateway import Served, served
from tests.fakes import encoded
from train.evaluation.predict import torch_network
from train.export.torch_to_onnx import install_network
from train.objectives import CellObjective

pytestmark = pytest.mark.usefixtures("needs_triton")

CODEC = CodecSpec(points=2, input_size=Size(width=64, height=96), topk=9)
LAYOUT = PointLayout(
    "spots", ("green", "blue"), flip=(0, 1), groups={"spots": (0, 1)}, norm="box", upright=((0,), (1,))
)
GREEN, BLUE = (150, 60), (170, 210)
"""Where the spots of the image are, x and y."""
BOX = (110.0, 30.0, 210.0, 240.0)


class Spots(nn.Module):
    """Finds what is green and what is blue in crops, by the mean of each cell: exact in every runtime."""

    def forward(self, crops: Tensor) -> Tensor:
        red, green, blue = (functional.avg_pool2d(crops[..., i].float().unsqueeze(1), 4) for i in range(3))
        return torch.cat([green - (red + blue) / 2, blue - (red + green) / 2], dim=1) / 8


@pytest.fixture(scope="module")
def repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = Path(shutil.copytree(model_repository, tmp_path_factory.mktemp("rectangles") / "model_repo"))
    model = Spots().eval()
    model.register_parameter("unused", nn.Parameter(torch.zeros(1)))  # by which a network's device is told
    metadata = ModelMetadata("spots", CODEC, 1.25, "run", ("none",), layout=LAYOUT, points_crop=PointsCrop(1.6, 0.05))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        install_network(model, torch_network(model, CellObjective()), metadata, repository)
    return repository


@pytest.fixture(scope="module", params=["embedded", "local"])
def service(repository: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(model_repository=repository, engine=request.param) as running:
        running.read_announcement()
        yield running


@pytest.fixture(scope="module")
def image() -> bytes:
    picture = np.full((300, 320, 3), 90, np.uint8)
    for place, color in ((GREEN, (0, 255, 0)), (BLUE, (0, 0, 255))):
        cv2.circle(picture, place, 9, color, -1, cv2.LINE_AA)
    return encoded(picture)


def ask(service: Served, image: bytes, **options: Any) -> dict[str, Any]:
    query = {"box": ",".join(map(str, BOX)), "refine": "never", **options}
    response = httpx.post(f"{service.url}/v1/landmarks", content=image, params=query)
    assert response.status_code == 200, response.text
    (face,) = response.json()["faces"]
    return dict(face)


@pytest.mark.parametrize(
    ("options", "passes"), [({}, 1), ({"flip": "true"}, 1), ({"refine": "always"}, 2), ({"decoder": "argmax"}, 1)]
)
def test_what_is_in_the_image_is_answered_where_it_is(
    service: Served, image: bytes, options: dict[str, str], passes: int
) -> None:
    face = ask(service, image, **options)
    assert face["passes"] == passes
    # the box is 210 high, the crop 262.5, a cell of 24 rows 10.9: within half of that
    assert np.array(face["points"]) == pytest.approx(np.array([GREEN, BLUE]), abs=5.5)


def test_squares_and_rectangles_are_described(service: Served) -> None:
    (model,) = httpx.get(f"{service.url}/v1/models").json()["models"]
    assert (model["input_size"], model["input_width"], model["input_height"]) == (96, 64, 96)
