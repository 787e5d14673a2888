"""The contents of a run's plots, read from the figures before they are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from landmarks.codec import Decoded
from landmarks.crop import Crop, transform_points
from landmarks.size import Size
from tests.train.miniature import drawn_shape, write_miniature
from train.datasets.face import AnnotatedFace
from train.datasets.layouts import COFW29
from train.datasets.source import DataSource
from train.evaluation import plots
from train.evaluation.plots import draw_curves, draw_evaluation, draw_face
from train.evaluation.predictions import Predictions


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is drawn, in order."""
    drawn: list[Figure] = []
    new_figure = plots.new_figure

    def recorded(width: float, height: float) -> Figure:
        drawn.append(new_figure(width, height))
        return drawn[-1]

    monkeypatch.setattr(plots, "new_figure", recorded)
    return drawn


def predicted(root: Path, count: int) -> Predictions:
    """Faces whose error, in percent of the inter-ocular distance, is 0.5, 1.5, 2.5 and so on."""
    faces = DataSource("faces300w", write_miniature(root, train=0, val=count)).test_faces()
    matrices = np.stack([Crop.around(face.box, 1.25, Size.square(64)).image_to_crop() for face in faces])
    truth = np.stack([transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)])
    ocular = np.linalg.norm(truth[:, 60] - truth[:, 72], axis=-1)
    shifts = (np.arange(count)[:, None] + 0.5) / 100 * ocular[:, None] * np.array([0.6, 0.8])
    points = truth + shifts[:, None, :]
    ones = [np.ones(shape, np.float32) for shape in (points.shape[:2], (*points.shape, 2), (len(points), 0))]
    decoded = Decoded(points, *ones)
    return Predictions(MappingProxyType({9: decoded}), truth, matrices, faces)


def captions(figure: Figure) -> list[str]:
    return [axes.get_xlabel() for axes in figure.axes]


def assert_nothing_is_cut_off(figure: Figure) -> None:
    drawn = figure.get_tightbbox()  # inches
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= figure.get_figwidth()
    assert drawn.y1 <= figure.get_figheight()


# ---------------------------------------------------------------- curves


def test_curves_show_loss_and_error_and_where_the_crop_grows(tmp_path: Path, figures: list[Figure]) -> None:
    rows = [
        {"epoch": 0, "input_size": 64, "loss": 4.0},
        {"epoch": 1, "input_size": 64, "loss": 3.0, "nme": 9.0},
        {"epoch": 2, "input_size": 128, "loss": 3.5},
        {"epoch": 3, "input_size": 128, "loss": 2.5, "nme": 7.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    (figure,) = figures
    loss, nme = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 4], [2, 3], [3, 3.5], [4, 2.5]]  # type: ignore[union-attr]
    assert nme.lines[0].get_xydata().tolist() == [[2, 9], [4, 7]]  # type: ignore[union-attr]
    for axes in (loss, nme):
        assert [list(line.get_xdata()) for line in axes.lines[1:]] == [[2.5, 2.5]]  # type: ignore[arg-type]
        assert [text.get_text() for text in axes.texts] == ["64 px", "128 px"]
    assert_nothing_is_cut_off(figure)
    assert cv2.imread(str(tmp_path / "curves.png")).shape == (600, 750, 3)


@pytest.mark.parametrize("rows", ["", '{"epoch": 0, "input_size": 64, "loss": 4.0}\n'])
def test_curves_of_next_to_nothing_are_drawn(tmp_path: Path, figures: list[Figure], rows: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(rows)
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()
    assert_nothing_is_cut_off(figures[0])


# ---------------------------------------------------------------- evaluations


def test_an_evaluation_is_drawn_as_its_errors_are(tmp_path: Path, figures: list[Figure]) -> None:
    draw_evaluation(predicted(tmp_path / "faces", 12), 9, tmp_path / "a" / "b", sheet=8)
    distribution, best, worst = figures
    assert captions(best)[0] == "0.50 %  000.png"
    assert captions(best)[-1] == "7.50 %  007.png"
    assert captions(worst)[0] == "11.50 %  011.png"
    assert captions(worst)[-1] == "4.50 %  004.png"
    assert len(best.axes) == len(worst.axes) == 8
    (axes,) = distribution.axes
    curve, limit = axes.lines
    # 0.5, 1.5, 2.5, 3.5, 4.5 and 5.5 are six of twelve
    assert [5.5, 50.0] in np.round(np.asarray(curve.get_xydata()), 9).tolist()
    assert list(limit.get_xdata()) == [10.0, 10.0]  # type: ignore[arg-type]
    legend = axes.get_legend()
    assert legend is not None
    # the errors 0.5 to 9.5 leave 9.5 + 8.5 + ... + 0.5 = 50 of 12 times 10 percent under the curve; 10.5 and 11.5 fail
    assert [text.get_text() for text in legend.get_texts()] == ["k = 9: NME 6.00 %, AUC@10 0.417", "FR@10 16.67 %"]
    for figure in figures:
        assert_nothing_is_cut_off(figure)
    for name in ("ced.png", "best.png", "worst.png"):
        assert cv2.imread(str(tmp_path / "a" / "b" / name)) is not None


def test_few_faces_make_a_small_sheet(tmp_path: Path, figures: list[Figure]) -> None:
    draw_evaluation(predicted(tmp_path / "faces", 2), 9, tmp_path)
    assert captions(figures[1]) == ["0.50 %  000.png", "1.50 %  001.png"]
    assert cv2.imread(str(tmp_path / "best.png")).shape[0] < 500
    assert_nothing_is_cut_off(figures[1])


def test_points_that_nobody_annotated_are_left_out(tmp_path: Path) -> None:
    truth = np.stack([np.arange(29.0) + 20, np.arange(29.0) % 7 + 20], axis=1)[None]
    truth[0, 3] = np.nan
    cv2.imwrite(str(tmp_path / "face.png"), np.zeros((64, 64, 3), np.uint8))
    face = AnnotatedFace(tmp_path / "face.png", truth[0], np.array([16.0, 16, 60, 60]))
    found = np.nan_to_num(truth, nan=30.0) + 1
    decoded = Decoded(found, *(np.ones((1, *shape), np.float32) for shape in ((29,), (29, 2, 2), (0,))))
    matrix = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    draw_evaluation(Predictions({1: decoded}, truth, matrix, [face], COFW29), 1, tmp_path)
    assert (tmp_path / "worst.png").is_file()


def test_points_lie_where_they_are_in_the_imagegraph() -> None:
    """A white pixel at each true point is under the true points' colour, wherever the crop was."""
    points = np.round(drawn_shape() * 40 + 100)
    image = np.zeros((200, 200, 3), np.uint8)
    x, y = points.astype(int).T
    image[y, x] = 255
    axes = plots.new_figure(4, 4).subplots()
    draw_face(axes, image, points, points + 3)
    found, true = axes.collections[1:]
    shown = np.asarray(axes.images[0].get_array())
    for px, py in np.asarray(true.get_offsets()):
        assert shown[round(py), round(px)].min() > 60
    assert tuple(true.get_facecolor()[0][:3]) == to_rgb(plots.TRUE_COLOR)  # type: ignore[index]
    assert tuple(found.get_facecolor()[0][:3]) == to_rgb(plots.PREDICTED_COLOR)  # type: ignore[index]
    ends = axes.collections[0].get_paths()
    assert ends[5].vertices.tolist() == [true.get_offsets()[5].tolist(), found.get_offsets()[5].tolist()]  # type: ignore[index, union-attr]
