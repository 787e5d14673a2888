"""A model of 106 points, in a layout that no code knows: exported, served by a real Triton, answered by both APIs."""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

import torch
from torch import Tensor, nn

from landmarks.codec import CodecSpec
from landmarks.metadata import ModelMetadata
from landmarks.size import Size
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from tests.e2e.test_cli import landmarks
from tests.e2e.test_gateway import BOX, IMAGE, Served, served
from tests.fakes import SYNTHETIC_106
from train.evaluation.predict import torch_network
from train.export.torch_to_onnx import install_network
from train.objectives import CellObjective

pytestmark = pytest.mark.usefixtures("needs_triton")

CODEC = CodecSpec(points=106, input_size=Size.square(64), topk=4)


class FixedPoints(nn.Module):
    """Finds point i in column i % 14 + 1 and row i // 14 + 1 of every crop's heatmaps, seen with a probability of
    i / 105.
    """

    def __init__(self) -> None:
        super().__init__()
        maps = torch.full((106, 16, 16), -9.0)
        for i in range(106):
            maps[i, i // 14 + 1, i % 14 + 1] = 9.0
        self.maps = nn.Parameter(maps)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        zero = 0 * crops.float().mean((1, 2, 3), keepdim=True)
        return self.maps + zero, torch.linspace(0, 1, 106) + zero[:, :, 0, 0]


@pytest.fixture(scope="module")
def service(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    repository = Path(shutil.copytree(model_repository, tmp_path_factory.mktemp("layout") / "model_repo"))
    model = FixedPoints().eval()
    metadata = ModelMetadata("synthetic", CODEC, 1.25, "run", ("none",), layout=SYNTHETIC_106)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        install_network(model, torch_network(model, CellObjective()), metadata, repository)
    with served(model_repository=repository) as running:
        running.read_announcement()
        yield running


def test_both_apis_answer_its_points(service: Served) -> None:
    response = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params={"box": ",".join(map(str, BOX))})
    (face,) = response.json()["faces"]
    points = np.array(face["points"])
    assert points.shape == (106, 2)
    # cells are 4 of 64 crop pixels, and the crop is 1.25 times as wide as the box is long
    side = 1.25 * (BOX[3] - BOX[1])
    assert points[1] - points[0] == pytest.approx([side / 16, 0], abs=1e-2)
    assert points[14] - points[0] == pytest.approx([0, side / 16], abs=1e-2)
    assert face["visibility"] == pytest.approx(np.arange(106) / 105, abs=1e-6)
    # without eye corners the square root of the area of the points' box: 13 by 7 cells
    assert face["inter_ocular"] == pytest.approx((13 * 7) ** 0.5 * side / 16, rel=1e-3)
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc}") as channel:
        box = pb.Box(**dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True)))
        answer = landmarks_pb2_grpc.LandmarksStub(channel).Detect(pb.DetectRequest(image=IMAGE, boxes=[box]))
    np.testing.assert_array_equal(
        np.array(answer.faces[0].points, np.float32), np.array(face["points"], np.float32).ravel()
    )


def test_flip_averaging_uses_its_mirror_pairs(service: Served) -> None:
    query = {"box": ",".join(map(str, BOX)), "flip": "true"}
    (face,) = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params=query).json()["faces"]
    # every point is its own partner, so with the mirrored crop all lie on its middle column
    assert np.ptp(np.array(face["points"])[:, 0]) == pytest.approx(0, abs=1e-3)


def test_its_layout_is_described(service: Served) -> None:
    layout = httpx.get(f"{service.url}/v1/layout").json()
    assert (layout["name"], len(layout["points"]), list(layout["groups"])) == ("synthetic106", 106, ["upper", "lower"])
    assert layout["inter_ocular"] is None
    (model,) = httpx.get(f"{service.url}/v1/models").json()["models"]
    assert (model["name"], model["layout"], model["topk"]) == ("synthetic", "synthetic106", 4)


def test_the_command_line_writes_and_draws_them(service: Served, tmp_path: Path) -> None:
    image, out, overlay = tmp_path / "face.png", tmp_path / "faces.csv", tmp_path / "drawn.png"
    image.write_bytes(IMAGE)
    options = ["--url", service.url, "--box", ",".join(map(str, BOX)), "--out", out, "--overlay", overlay]
    ended = landmarks("detect", image, *options)
    assert ended.returncode == 0, ended.stderr
    with out.open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert {"x_0", "y_105", "yy_105"} <= set(row)
    assert "x_106" not in row
    assert overlay.stat().st_size > len(IMAGE) / 2
