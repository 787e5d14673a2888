"""The report on faces: its figures by hand, and the command from a model to the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.repository import model_path
from tests.train.miniature import drawn_shape, write_miniature
from train.commands.command_line import parse
from train.commands.report_faces import named
from train.datasets.face import AnnotatedFace
from train.datasets.image import ArrayImage
from train.errors import TrainError
from train.evaluation.faces_report import page
from train.evaluation.faces_report.answers import Answers
from train.evaluation.faces_report.features import blinks, eyes, is_frontal, mouths, openings
from train.evaluation.faces_report.hidden import hidden
from train.evaluation.faces_report.pictures import points_shown
from train.evaluation.faces_report.pose import rolls_of
from train.evaluation.faces_report.tables import Table, by_range, ranges

IMAGE = ArrayImage("drawn.png", np.zeros((200, 200, 3), np.uint8))


def answers(
    shapes: list[np.ndarray], error: float = 0.0, visible: np.ndarray | None = None, stated: float | None = None
) -> Answers:
    """For faces of such points, all of which are found `error` pixels to the right of where they are."""
    faces = [AnnotatedFace(IMAGE, shape, np.zeros(4), visible=visible) for shape in shapes]
    truth = np.stack(shapes)
    said = np.full((len(faces), 98), stated) if stated is not None else np.zeros((len(faces), 0))
    return Answers(faces, truth + np.array([error, 0.0]), truth, np.ones(len(faces)), said)


def drawn(size: float = 50.0) -> np.ndarray:
    return drawn_shape() * size + 100


def with_eyes(opening: float) -> np.ndarray:
    """A face whose lids are that far from each other, in distances of the outer eye corners."""
    shape = drawn()
    ocular = np.linalg.norm(shape[60] - shape[72])
    for upper, lower in ((61, 67), (62, 66), (63, 65), (69, 75), (70, 74), (71, 73)):
        middle = (shape[upper] + shape[lower]) / 2
        half = np.array([0, opening * ocular / 2])
        shape[upper], shape[lower] = middle - half, middle + half
    return shape


def test_the_lower_end_of_a_range_belongs_to_it() -> None:
    masks = ranges(np.array([0.0, 9.9, 10.0, 19.0, 20.0]), (0, 10, 20))
    assert [mask.tolist() for mask in masks] == [[True, True, False, False, False], [False, False, True, True, False]]


def test_errors_are_those_of_the_root_of_the_box() -> None:
    square = drawn()
    square *= 100 / np.ptp(square, axis=0)
    table = by_range("Roll", "", np.array([1.0] * 5 + [15.0]), (0, 10, 20), answers([square] * 6, error=3.0))
    assert table.cases == ("0 to 10°", "10 to 20°")
    assert table.rows == {"faces": ("5", "1"), "error, %": ("3.00", ""), "mean score": ("1.00", "")}
    assert rolls_of(answers([square, square[:, ::-1]])) == pytest.approx([0.0, 90.0], abs=0.5)


def test_only_points_in_the_picture_count_where_it_is_said() -> None:
    shape = drawn()
    shape[0] = [-5.0, 100.0]
    found = answers([shape] * 2, error=1.0)
    found.points[:, 0] += 1000
    assert points_shown(found) == pytest.approx(100 / np.sqrt(np.ptp(shape, axis=0).prod()))


def test_eyes_are_measured_between_the_lids() -> None:
    assert openings(np.stack([with_eyes(0.1), with_eyes(0.02)])) == pytest.approx(np.array([[0.1] * 2, [0.02] * 2]))
    assert is_frontal(AnnotatedFace(IMAGE, with_eyes(0.1), np.zeros(4)))
    true = answers([with_eyes(0.01 + 0.003 * i) for i in range(10)])
    half = [with_eyes(0.02 + 0.0015 * i) for i in range(10)]
    by_opening, closed = eyes(Answers(true.faces, np.stack(half), true.truth, true.scores, true.visibility))
    assert by_opening.rows["eyes"] == ("10", "10", "0", "0")
    assert closed.rows == {"opening": ("20", "1.00", "0.50")}


def test_what_moves_in_a_blink_is_told_by_group() -> None:
    faces = [AnnotatedFace(IMAGE, drawn(), np.array([50.0, 50, 150, 150]))] * 2

    def ask(asked: object) -> Answers:
        assert isinstance(asked, list)
        found = answers([face.points for face in asked])
        moved = "blinking" in asked[0].image.name
        found.points[:, :33, 1] += 0.02 * np.linalg.norm(drawn()[60] - drawn()[72]) * moved
        return found

    table = blinks(ask, faces)
    assert table.cases[0] == "jaw"
    assert table.rows["mean of 2 faces"][:2] == ("2.00", "0.00")


def test_mouths_and_hidden_points() -> None:
    open_mouth = drawn()
    open_mouth[94] = open_mouth[90] + [0, 0.5 * np.linalg.norm(drawn()[60] - drawn()[72])]
    assert mouths(answers([open_mouth] * 5)).rows["faces"] == ("0", "0", "0", "5")
    visible = np.arange(98) >= 33
    found = answers([drawn()] * 5, visible=visible, stated=0.9)
    found.points[:, :33] += 2.0
    (table,) = hidden(found)
    assert table.rows["the data set says, points"] == ("325", "165")
    assert table.rows["the data set says, %"][0] == "0.00"
    assert float(table.rows["the data set says, %"][1]) > 1
    assert table.rows["the network says, points"] == ("490", "0")
    assert hidden(answers([drawn()] * 5)) == []


def test_a_page_has_a_row_for_each_figure() -> None:
    text = page([Table("Yaw", "As fitted.", ("0 to 15°", "15 to 30°"), {"a: faces": ("3", "4")})])
    table = ["| | 0 to 15° | 15 to 30° |", "| --- | ---: | ---: |", "| a: faces | 3 | 4 |"]
    assert text.splitlines() == ["### Yaw", "", "As fitted.", "", *table]


def test_data_sets_are_named_by_the_user_or_after_their_folder() -> None:
    assert [named(text)[0] for text in ("hard faces=faces300w:/data/h", "faces300w:/data/h")] == ["hard faces", "h"]


def test_the_command_writes_tables_and_curves(tmp_path: Path, model_repository: Path) -> None:
    data = f"drawn=faces300w:{write_miniature(tmp_path / 'faces', train=0, val=6)}"
    words = ["report-faces", "--model", str(model_path(model_repository)), "--data", data, "--every", "3"]
    parse([*words, "--out", str(tmp_path / "out")]).execute()
    text = (tmp_path / "out" / "faces.md").read_text(encoding="utf-8")
    for title in ("Roll of the head", "Turned pictures", "Share of the frame", "A blink", "Hidden points"):
        assert f"### {title}\n" in text
    assert "| drawn: faces | 6 |" in text
    assert (tmp_path / "out" / "faces.png").is_file()
    with pytest.raises(TrainError, match="--every must be at least 1"):
        parse([*words[:-1], "0"]).execute()
    with pytest.raises(TrainError, match="docs/training"):
        parse([*words, "--face-model", str(tmp_path / "gone.npz")]).execute()
