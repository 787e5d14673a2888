"""The formats of `landmarks detect`, and files of them that end anywhere."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli.outputs import Csv, Format, JsonLines, Output, OutputError, make_format, new_file, resumed_file

FACE = {"box": [1.0, 2.0, 3.0, 4.0], "box_source": "given", "box_score": None, "score": 0.5, "inter_ocular": 2.0}
FACE |= {"passes": 2}
MODEL = {"name": "fake", "version": "7", "provenance": "sha256:00"}
OMIT = ("points", "scores", "covariances", "visibility")


def body(faces: int) -> dict[str, Any]:
    return {"model": MODEL, "image": {"width": 8, "height": 9}, "faces": [FACE] * faces}


@pytest.mark.parametrize("name", ["plain.png", 'with "quotes", and\na line.png', "ünïcödé.png"])
def test_a_csv_that_ends_anywhere_is_resumed_after_its_last_complete_record(tmp_path: Path, name: str) -> None:
    form, path = Csv(OMIT), tmp_path / "out.csv"
    parts = [form.start(), form.record("first.png", body(0)), form.record(name, body(2)), form.record("c.png", body(1))]
    whole = b"".join(parts)
    bounds = [sum(map(len, parts[: i + 1])) for i in range(4)]
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        stream, output = resumed_file(path, Csv(OMIT))
        stream.close()
        done = sum(bound <= end for bound in bounds[1:])
        assert output.completed == set(["first.png", name, "c.png"][:done])
        kept = bounds[done] if done else bounds[0]  # the header is written again where nothing is kept
        assert path.read_bytes() == whole[:kept]


def test_a_csv_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stream, output = new_file(path, Csv(OMIT))
    output.add("a.png", body(1))
    stream.close()
    with pytest.raises(OutputError, match="other columns"):
        resumed_file(path, Csv())
    with pytest.raises(OutputError, match="cannot be resumed"):
        resumed_file(path, make_format("json", ()))
    with pytest.raises(OutputError, match="cannot be written"):
        new_file(tmp_path / "no" / "folder.csv", JsonLines())
    path.write_text("file,faces,face,width,height,model,provenance,year\na.png,1,0,8,9,m,s,1990\n")
    with pytest.raises(OutputError, match="other columns"):
        resumed_file(path, Csv())


@pytest.mark.parametrize("form", [JsonLines(), Csv()], ids=["jsonl", "csv"])
@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 no line feed", b'{"name": "Ana"}', b"name,year", b"x\ny\n"])
def test_a_file_that_is_something_else_is_not_touched(tmp_path: Path, form: Format, content: bytes) -> None:
    """Without a line feed, it would look like an incomplete first record."""
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="not written by landmarks detect"):
        resumed_file(path, form)
    assert path.read_bytes() == content


def test_a_csv_that_was_changed_in_the_middle_is_not_truncated(tmp_path: Path) -> None:
    form, path = Csv(OMIT), tmp_path / "out.csv"
    content = form.start() + b'"a"b.png\n' + form.record("c.png", body(1))
    path.write_bytes(content)
    with pytest.raises(OutputError, match="not written by landmarks detect"):
        resumed_file(path, Csv(OMIT))
    assert path.read_bytes() == content


def large(faces: int, points: int, **more: Any) -> dict[str, Any]:
    """An answer of a model with this many points."""
    arrays = {"points": np.ones((points, 2), np.float32), "scores": np.ones(points, np.float32)}
    face = FACE | arrays | {"covariances": np.ones((points, 3), np.float32)} | more
    return {"model": MODEL, "image": {"width": 8, "height": 9}, "faces": [face] * faces}


@pytest.mark.parametrize("visibility", [{}, {"visibility": np.array([0.25, 1.0], np.float32)}])
@pytest.mark.parametrize("omit", [(), OMIT[:3]])
def test_the_model_decides_whether_there_are_columns_of_visibility(
    tmp_path: Path, omit: tuple[str, ...], visibility: dict[str, Any]
) -> None:
    """Also where a file is resumed, which has to have the columns that it began with."""
    path = tmp_path / "out.csv"
    stream, output = new_file(path, Csv(omit))
    output.add("a.png", large(1, 2, **visibility))
    output.close()
    stream.close()
    stream, output = resumed_file(path, Csv(omit))
    assert output.completed == {"a.png"}
    output.add("b.png", large(1, 2, **visibility))
    output.add("c.png", large(1, 2))  # of a candidate that states none
    stream.close()
    header, first, second, third = csv.reader(io.StringIO(path.read_text()))
    columns = ["visibility_0", "visibility_1"]
    assert [name for name in header if name.startswith("visibility")] == (columns if visibility else [])
    assert {len(row) for row in (header, first, second, third)} == {len(header)}
    if visibility:
        assert first[-2:] == second[-2:] == ["0.25", "1.0"]
        assert third[-2:] == ["", ""]


@pytest.mark.parametrize("points", [5, 106])
def test_the_columns_are_for_the_points_of_the_model(points: int) -> None:
    form = Csv()
    pieces = [form.start(), form.record("none.png", large(0, points)), form.record("two.png", large(2, points))]
    pieces += [form.record("none-2.png", large(0, points)), form.end()]
    assert pieces[:2] == [b"", b""]  # until a face is found, the number of points is not known
    header, *rows = csv.reader(io.StringIO(b"".join(pieces).decode()))
    assert header[15:18] == ["passes", "x_0", "y_0"]
    assert {tuple(row[14:18]) for row in rows if row[2]} == {("2.0", "2", "1.0", "1.0")}
    assert header[-3:] == [f"xx_{points - 1}", f"xy_{points - 1}", f"yy_{points - 1}"]
    assert {len(row) for row in rows} == {len(header)} == {16 + 6 * points}
    assert [(row[0], row[2]) for row in rows] == [
        ("none.png", ""),
        ("two.png", "0"),
        ("two.png", "1"),
        ("none-2.png", ""),
    ]


def test_a_csv_without_any_face_has_a_row_for_each_image_and_is_started_again_when_resumed(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stream, output = new_file(path, Csv())
    output.add("a.png", large(0, 5))
    output.close()
    stream.close()
    header, row = csv.reader(io.StringIO(path.read_text()))
    assert (header[-1], row[:3], len(row)) == ("passes", ["a.png", "0", ""], 16)
    stream, output = resumed_file(path, Csv())
    assert output.completed == frozenset()
    output.add("a.png", large(0, 5))
    output.add("b.png", large(1, 5))
    output.close()
    stream.close()
    stream, output = resumed_file(path, Csv())
    stream.close()
    assert output.completed == {"a.png", "b.png"}


def test_a_pipe_and_a_device_are_written_to_without_overwrite(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        stream, output = new_file(pipe, JsonLines())
        with stream:
            output.add("a.jpg", {"faces": []})
        assert os.read(reading, 100) == b'{"file":"a.jpg","faces":[]}\n'
    finally:
        os.close(reading)
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(OutputError, match="No space left"):
        Output(JsonLines(), stream).add("a.jpg", {"faces": []})
    with pytest.raises(OutputError, match="Is a directory"):
        new_file(tmp_path, JsonLines())
