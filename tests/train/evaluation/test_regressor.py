"""Networks of coordinates, against one that always answers the same."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from landmarks.crop import Crop, invert, transform_points
from landmarks.layout import WFLW98
from landmarks.size import Size
from tests.train.command import landmarks_train
from tests.train.datasets.test_faces300w import row, write_faces300w
from train.errors import TrainingError
from train.evaluation.regressor import SCALES, Regressor, find


def network(path: Path, x: float = 0.25, y: float = 0.5, side: int = 112) -> Path:
    """A network that finds every point at the same place of the crop, whatever it shows."""
    answer = helper.make_tensor("answer", TensorProto.FLOAT, (1, 196), [x, y] * 98)
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["points"], value=answer)],
        "constant",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, side, side))],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, (1, 196))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_answers_are_in_pixels_of_the_crop_and_of_its_mirror_image(tmp_path: Path) -> None:
    regressor = Regressor(network(tmp_path / "n.onnx"), WFLW98)
    plain, mirrored = regressor.answers(np.zeros((112, 112, 3), np.uint8))
    assert plain == pytest.approx(np.tile([28.0, 56.0], (98, 1)))
    assert mirrored == pytest.approx(np.tile([84.0, 56.0], (98, 1)))


def test_the_mean_of_all_answers_lies_in_the_image(tmp_path: Path) -> None:
    regressors = [Regressor(network(tmp_path / f"{x}.onnx", x), WFLW98) for x in (0.25, 0.5)]
    box = np.array([100.0, 50.0, 200.0, 170.0])
    found = find(regressors, np.zeros((300, 400, 3), np.uint8), box)
    expected = [
        transform_points(invert(Crop.around(box, scale, Size.square(112)).image_to_crop()), [x, 56])
        for scale in SCALES
        for x in (28, 84, 56, 56)
    ]
    assert found.points == pytest.approx(np.tile(np.mean(expected, axis=0), (98, 1)))


@pytest.mark.parametrize("content", [b"", b"text"])
def test_a_file_that_cannot_be_run_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(TrainingError, match=r"n\.onnx: not an ONNX file"):
        Regressor(tmp_path / "n.onnx", WFLW98)


def test_a_network_of_heatmaps_is_told(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "model_repo" / "heatmap" / "1" / "model.onnx"
    with pytest.raises(TrainingError, match=r"expected an input \[1, 3, S, S\]"):
        Regressor(shipped, WFLW98)


def test_the_command_writes_a_teachers_file(tmp_path: Path) -> None:
    write_faces300w(tmp_path / "set", row())
    (tmp_path / "set" / "images").mkdir()
    cv2.imwrite(str(tmp_path / "set" / "images" / "a.jpg"), np.zeros((300, 300, 3), np.uint8))
    out = tmp_path / "teacher.jsonl"
    done = landmarks_train(
        *("predict", "--regressor", network(tmp_path / "n.onnx", 0.5), "--data", f"faces300w:{tmp_path / 'set'}"),
        *("--out", out),
    )
    assert done.returncode == 0, done.stderr
    assert "1 faces" in done.stdout
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line["image"] == "a.jpg"
    # the middle of the tight box, and half a pixel of the crop
    assert line["faces"][0]["points98"][0] == pytest.approx([59, 117.25], abs=1.2)
