"""The paper's tables: written down, end to end on miniatures, and refused on data that they cannot be made on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec
from tests.train.datasets import test_coco, test_mpii
from tests.train.miniature import write_miniature
from train.backbones import build
from train.commands.command_line import parse
from train.datasets.source import DataSource
from train.errors import ConfigError, DataError, TrainingError
from train.evaluation.predict import predict, torch_network
from train.evaluation.trained import Trained
from train.objectives import CellObjective
from train.tables import backbones, quantization
from train.tables.context import Table
from train.tables.topk import KS, errors_by_k

TINY = """
batch_size = 2
warmup_epochs = 0
stages = [{ epochs = 1, input_size = 64 }]
"""


def make_table(folder: Path, data: str, number: str, *options: str) -> None:
    """`landmarks-train table`, within this process: runs lie under folder/runs, and the table in the folder."""
    places = ["--runs", str(folder / "runs"), "--out", str(folder)]
    parse(["table", number, "--data", data, *places, *options]).execute()


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


# ---------------------------------------------------------------- parts


def test_a_table_as_markdown_and_csv(tmp_path: Path) -> None:
    Table("table-0", "A title", "A note.", ("k", "64 px"), (("1", "6.45"), ("9", "4.62"))).write(tmp_path / "new")
    assert (tmp_path / "new" / "table-0.md").read_text() == (
        "# A title\n\nA note.\n\n| k | 64 px |\n| --- | ---: |\n| 1 | 6.45 |\n| 9 | 4.62 |\n"
    )
    assert (tmp_path / "new" / "table-0.csv").read_text() == "k,64 px\n1,6.45\n9,4.62\n"


def test_one_search_gives_the_errors_that_evaluation_gives_for_each_k(tmp_path: Path) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces"))
    network, codec = torch_network(build("compact", 98), CellObjective()), CodecSpec(input_size=64)
    predictions = predict(network, source.test_faces(), codec, 1.25, [1, 3, 9])
    found = errors_by_k(Trained(network, codec, 1.25), source, [1, 3, 9])
    assert found == pytest.approx([predictions.report(k).nme for k in (1, 3, 9)], abs=1e-3)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["8", "--reuse-only"], TrainingError, "compact64 holds no finished run: leave --reuse-only out"),
        (["13"], DataError, "table 13 is made on coco, not on faces300w"),
        (["2", "--config", "h3r"], ConfigError, "table 2 trains by its own protocol: leave --config out"),
        (["8", "--config", "nowhere.toml"], ConfigError, "cannot read the configuration 'nowhere.toml'"),
    ],
)
def test_what_a_table_cannot_be_made_of(
    tmp_path: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    with pytest.raises(error, match=message):
        make_table(tmp_path, data, *arguments)


def test_bodies_have_tables_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"table 8 is made on faces300w or wflw or .*, not on mpii"):
        make_table(tmp_path, f"mpii:{tmp_path}", "8")


def test_a_run_of_other_data_is_not_reused(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "compact64"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    (folder / "run.json").write_text('{"data": ["wflw"]}')
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    with pytest.raises(TrainingError, match="compact64 was trained on wflw, not faces300w: choose other --runs"):
        make_table(tmp_path, data, "8", "--sizes", "64")


# ---------------------------------------------------------------- end to end


def test_tables_7_and_8_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    (tmp_path / "compact64.toml").write_text(TINY)
    make_table(tmp_path, data, "8", "--config", str(tmp_path / "compact64.toml"))
    rows = read(tmp_path / "table-8.csv")
    assert rows[0] == ["k", "compact64, 64 px", "64 px, the paper's"]
    assert [row[0] for row in rows[1:]] == [*map(str, KS), "the best k", "cut by the best k"]
    assert [row[2] for row in rows[1:]] == ["6.45", *["-"] * 15, "4.62", "28 %"]
    nme = float(rows[KS.index(9) + 1][1])
    report = json.loads((tmp_path / "runs" / "compact64" / "report.json").read_text())
    assert nme == pytest.approx(report["by_k"]["9"]["nme"], abs=0.006)
    assert {path.name for path in tmp_path.glob("*.png")} == {"table-8.png", "fig-8.png"}

    monkeypatch.setattr(backbones, "HRNETS", ("hrnet_w18",))
    make_table(tmp_path, data, "7", "--sizes", "64")
    rows = read(tmp_path / "table-7.csv")
    assert rows[1] == ["compact", "faces300w", "P2", "64 px", "0.75", "0.02", f"{nme:.2f}"]
    assert rows[2] == ["hrnet_w18", "faces300w", "P2", "256 px", "9.69", "4.84", "-"]
    assert rows[3] == ["HRNet-W18, published", "WFLW", "P1", "256 px", "9.69", "4.84", "3.81"]
    assert len(rows) == 1 + 2 + 5
    notes = (tmp_path / "table-7.md").read_text()
    assert "fit --data faces300w:PATH --backbone NAME --out runs/NAME" in notes
    assert "published with the paper's code" in notes


def test_table_10_crosses_boxes_and_shares_a_run_with_table_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "EPOCHS", {64: 1})
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    make_table(tmp_path, data, "10", "--sizes", "64")
    rows = read(tmp_path / "table-10.csv")
    assert rows[0] == ["training", "64 px, tested on P1", "64 px, tested on P2"]
    assert [row[0] for row in rows[1:]] == ["trained on P1", "trained on P2"]
    assert all(row[1] != row[2] for row in rows[1:])  # tested on different boxes
    assert rows[1][1:] != rows[2][1:]  # trained on different boxes
    for name, boxes in (("cells-random-p1-64", "P1"), ("cells-random-64", "P2")):
        assert json.loads((tmp_path / "runs" / name / "config.json").read_text())["boxes"] == boxes
    assert (tmp_path / "table-10.png").is_file()


def test_quantizers_are_told_apart_by_their_correction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "EPOCHS", {64: 1})
    monkeypatch.setattr(quantization, "QUANTIZERS", quantization.QUANTIZERS[:2])
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    make_table(tmp_path, data, "2", "--sizes", "64")
    rows = read(tmp_path / "table-2.csv")
    assert rows[0] == ["training", "64 px, argmax", "64 px, top9"]
    assert [row[0] for row in rows[1:]] == ["floor", "floor, corrected by +0.5"]
    assert rows[1][1:] != rows[2][1:]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["cells-floor-64"]


def write_photo(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), noise)


def test_table_13_on_a_miniature_of_coco(tmp_path: Path) -> None:
    people = [test_coco.person(number) for number in range(1, 5)]
    for split in ("train2017", "val2017"):
        test_coco.write(tmp_path, *people, split=split)
        write_photo(tmp_path / split / "000000000139.jpg", 640, 426)
    (tmp_path / "tiny.toml").write_text(TINY)
    make_table(tmp_path, f"coco:{tmp_path}", "13", "--config", str(tmp_path / "tiny.toml"))
    rows = read(tmp_path / "table-13.csv")
    assert rows[0] == ["crop", "decoder", "AP", "AP50", "AP75", "AP medium", "AP large", "AR"]
    assert [row[1] for row in rows[1:]] == [*(f"top {k}" for k in KS), "quarter", "3x3", "all"]
    assert all(0 <= float(row[2]) <= 100 for row in rows[1:])
    assert (tmp_path / "table-13.png").is_file()


def test_table_14_on_a_miniature_of_mpii(tmp_path: Path) -> None:
    trained, tested = (
        test_mpii.image(name, test_mpii.person(), test_mpii.person(160.0)) for name in ("a.jpg", "b.jpg")
    )
    test_mpii.write(tmp_path, [trained, tested], [1, 1])
    (tmp_path / "annot").mkdir()
    listed = [{"image": "b.jpg", "center": [x, 201.0]} for x in (151.0, 160.0)]
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(listed))
    for name in ("a.jpg", "b.jpg"):
        write_photo(tmp_path / "images" / name, 400, 450)
    (tmp_path / "tiny.toml").write_text(TINY)
    make_table(tmp_path, f"mpii:{tmp_path}", "14", "--config", str(tmp_path / "tiny.toml"))
    rows = read(tmp_path / "table-14.csv")
    assert rows[0] == ["crop", "decoder", "PCKh@0.5", "PCKh@0.1"]
    assert len(rows) == 1 + 16 + 3
    assert all(0 <= float(row[3]) <= float(row[2]) <= 100 for row in rows[1:])
    assert "NME" not in (tmp_path / "table-14.md").read_text()
