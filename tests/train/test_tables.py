"""The tables and figures: what the paper prints, what ours are about, and what they cannot be made of."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec, NetworkOutput, without_visibility  # noqa: E402
from landmarks.decoders import Maps  # noqa: E402
from landmarks.size import Size  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.train import published as published_weights  # noqa: E402
from tests.train.datasets import test_coco, test_mpii  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.backbones import build  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.config import Config, load_config  # noqa: E402
from train.datasets.source import DataSource  # noqa: E402
from train.errors import ConfigError, DataError, TrainError, TrainingError  # noqa: E402
from train.evaluation.metrics import pckh_by_joint  # noqa: E402
from train.evaluation.predict import predict, torch_network  # noqa: E402
from train.evaluation.trained import Trained  # noqa: E402
from train.objectives import CellObjective  # noqa: E402
from train.runs.weights import import_checkpoint  # noqa: E402
from train.tables import TABLES, bodies, heatmaps  # noqa: E402
from train.tables.activation_sets import NAMES, read_all, synthetic_errors  # noqa: E402
from train.tables.annotation import baseline, exact, method, nearest, unbiased  # noqa: E402
from train.tables.context import Table, TableContext  # noqa: E402
from train.tables.decoding import best, errors_by_k, mean_activations  # noqa: E402
from train.tables.figures import activation_probabilities  # noqa: E402
from train.tables.published import NUMBERS, Published, published  # noqa: E402
from train.tables.quantization import bias, largest_error  # noqa: E402

TINY = """
batch_size = 2
warmup_epochs = 0
boxes = "P1"
flip_averaging = true
pixel_rule = "corner"
stages = [{ epochs = 1, input_size = 64 }]
"""


def make(kind: str, folder: Path, data: str, name: str, *options: str) -> None:
    """`landmarks-train table` or `figure`, within this process: runs under folder/runs, the results in the folder."""
    (folder / "tiny.toml").write_text(TINY)
    places = ["--runs", str(folder / "runs"), "--out", str(folder)]
    parse([kind, name, "--data", data, "--config", str(folder / "tiny.toml"), *places, *options]).execute()


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


# ---------------------------------------------------------------- the paper's figures

CHECKSUMS = {
    1: "94ed8b00e1f794da",
    2: "b2d8a7037190425c",
    3: "ccaf99e62f334014",
    4: "e7be8eb89564ca76",
    5: "e430b15db783240a",
    6: "7a79e7b0b40cf69c",
    7: "e4b78348b71d5191",
    8: "3f564d3601b39df3",
    9: "a1e558a0a1fbcbaa",
    10: "e7f883361d3ce3b2",
    11: "4913655d99815739",
    12: "0d3857926a5bc7a8",
    13: "66ef2e12a298535f",
    14: "c5bd00eee34178ed",
}
"""SHA-256, the first 16 digits, of columns and rows as they were compared with the paper."""

TEXT = ROOT.parent / "shared" / "paper" / "h3r.md"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_papers_figures_are_those_that_were_compared_with_it(number: int) -> None:
    table = published(number)
    text = "\n".join("\t".join(row) for row in (table.columns, *table.rows))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == CHECKSUMS[number]


@pytest.mark.skipif(not TEXT.is_file(), reason="the text of the paper is not there")
@pytest.mark.parametrize("number", [n for n in NUMBERS if n > 1])
def test_the_papers_figures_are_those_of_its_text(number: int) -> None:
    """The same decimal numbers in the same order, in the first lines with tabs below the table's heading."""
    text = re.split(rf"(?m)^TABLE {number}\s", TEXT.read_text(encoding="utf-8"))[1]
    block = itertools.takewhile(
        lambda line: "\t" in line, text[text.rindex("\n", 0, text.index("\t")) + 1 :].splitlines()
    )
    decimals = re.compile(r"\d+\.\d+")
    wanted = decimals.findall("\n".join(block).replace("Mean@0.1", ""))
    assert decimals.findall("\n".join(" ".join(row) for row in published(number).rows)) == wanted
    assert wanted


def test_some_of_the_papers_figures_by_hand() -> None:
    assert published(3).column("pose", "H3R (ours)") == 6.45
    assert published(7).column("64 px, baseline", "256") == 7.74
    assert (published(8).column("best", "256"), published(8).column("best k", "256")) == (3.807, 9)
    assert published(9).column("best k", "2.5") == 35
    assert published(10).rows[2] == ("P1", "P2", "5.34", "9.68", "5.24", "5.25", "5.57", "6.55", "6.14")
    assert published(13).rows[0][1:4] == ("-", "97.1", "95.9")
    assert published(4).column("inter-pupil, private", "SAN [62]") is None


def test_ours_stand_above_the_papers_rows_of_the_same_labels() -> None:
    table = Published(("k", "a"), (("1", "6.45"), ("9", "4.62")))
    assert table.header(1) == ("k", "whose", "a")
    assert table.beside(1, {("9",): ["5.00"], ("20",): ["4.99"]}) == [
        ("1", "paper", "6.45"),
        ("9", "ours", "5.00"),
        ("9", "paper", "4.62"),
        ("20", "ours", "4.99"),
    ]


# ---------------------------------------------------------------- parts


def test_a_table_as_markdown_and_csv(tmp_path: Path) -> None:
    Table("table-0", "A title", "A note.\n\nB.", ("k", "64 px"), (("1", "6.45"), ("9", "4.62"))).write(tmp_path / "new")
    assert (tmp_path / "new" / "table-0.md").read_text() == (
        "# A title\n\nA note.\n\nB.\n\n| k | 64 px |\n| --- | ---: |\n| 1 | 6.45 |\n| 9 | 4.62 |\n"
    )
    assert (tmp_path / "new" / "table-0.csv").read_text() == "k,64 px\n1,6.45\n9,4.62\n"


@pytest.mark.parametrize("flip", [False, True])
def test_one_search_gives_the_errors_that_evaluation_gives_for_each_k(tmp_path: Path, flip: bool) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces"))
    network, codec = (
        torch_network(build("compact", 98), CellObjective()),
        CodecSpec(input_size=Size.square(64), pixel_rule="corner"),
    )
    recipe = Config.model_validate({"stages": [{"epochs": 1, "input_size": 64}], "flip_averaging": flip})
    context = TableContext(source, tmp_path, tmp_path, False, recipe, (Size.square(64),))
    trained = Trained(network, codec, 1.25, boxes="P1")
    predictions = predict(network, source.test_faces(), codec, 1.25, [1, 3, 9], "P1", flip="points" if flip else None)
    found = errors_by_k(trained, context, [1, 3, 9])
    assert found == pytest.approx([predictions.report(k).nme for k in (1, 3, 9)], abs=1e-3)


def test_mean_activations_by_hand(tmp_path: Path) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces"))

    def network(crops: NDArray[np.uint8]) -> NetworkOutput:
        maps = np.full((len(crops), 98, 16, 16), -50.0, np.float32)
        maps[:, :, 3, 4:8] = np.log([0.4, 0.2, 0.1, 0.1])
        return without_visibility(maps)

    recipe = Config.model_validate({"stages": [{"epochs": 1, "input_size": 64}]})
    context = TableContext(source, tmp_path, tmp_path, False, recipe, (Size.square(64),))
    trained = Trained(network, CodecSpec(input_size=Size.square(64)), 1.25)
    assert mean_activations(trained, context) == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=1e-6)


def test_the_best_k_is_the_first_that_rounds_to_the_least_error() -> None:
    assert best(np.array([5.0, 4.1004, 4.1, 4.2])) == ("4.100", "2")


def test_table_1_by_sampling() -> None:
    assert [bias(quantizer) for quantizer in ("floor", "round", "ceil")] == pytest.approx([-0.5, 0, 0.5], abs=0.005)
    assert bias("random") == pytest.approx(0, abs=0.005)
    assert bias("floor", shift=0.5) == pytest.approx(0, abs=0.005)
    assert 0.69 < largest_error() <= 0.5**0.5 + 1e-6


def test_eq_14_by_hand() -> None:
    assert activation_probabilities((1.2, 1.7)) == pytest.approx(
        {(1, 1): 0.24, (2, 1): 0.06, (1, 2): 0.56, (2, 2): 0.14}
    )
    assert activation_probabilities((2.0, 4.4)) == pytest.approx({(2, 4): 0.6, (2, 5): 0.4})


def test_sets_of_activation_points_by_hand() -> None:
    maps: Maps = np.full((1, 8, 8), -60.0, np.float32)
    maps[0, 4, 4], maps[0, 4, 5], maps[0, 5, 4], maps[0, 5, 5] = np.log([0.42, 0.28, 0.18, 0.12])
    maps[0, 0, 0] = np.log(0.2)  # a spot elsewhere, stronger than two of them
    found = dict(zip(NAMES, (points[0].tolist() for points in read_all(maps)), strict=True))
    assert found["the strongest cell"] == [4, 4]
    assert found["below and right"] == pytest.approx([4.4, 4.3], abs=1e-6)
    assert found["above and left"] == pytest.approx([4, 4], abs=1e-6)
    assert found["the square of the largest sum"] == found["below and right"]
    assert found["all nine (eq. 19)"] == pytest.approx([4.4, 4.3], abs=1e-6)
    total = 0.42 + 0.28 + 0.18 + 0.2
    assert found["top 4 (eq. 20)"] == pytest.approx(
        [(0.42 * 4 + 0.28 * 5 + 0.18 * 4) / total, (0.42 * 4 + 0.28 * 4 + 0.18 * 5) / total], abs=1e-5
    )


def test_without_heatmap_error_eq_19_and_20_give_the_point_as_sections_4_5_and_5_5_say() -> None:
    errors = dict(zip(NAMES, synthetic_errors(0.0), strict=True))
    assert errors["all nine (eq. 19)"] == pytest.approx(0, abs=0.002)
    assert errors["top 9 (eq. 20)"] == pytest.approx(0, abs=0.002)
    assert errors["the square of the largest sum"] == pytest.approx(0, abs=0.002)
    assert errors["above and left"] > 0.1  # the wrong square three times of four
    assert errors["the strongest cell"] == pytest.approx(0.383, abs=0.01)  # the mean distance from a cell's centre


def test_unbiased_clicks_are_decoded_as_the_point_at_every_stride() -> None:
    x = np.array([10.25, 3.0, 77.9])
    for stride in (1, 4, 16):
        assert method(unbiased(x), stride) == pytest.approx(x)
        assert method(exact(x), stride) == pytest.approx(x)
        assert method(nearest(x), stride) == pytest.approx([10, 3, 78])
    assert baseline(exact(x), 4) == pytest.approx([12, 4, 76])


def test_pckh_by_joint_by_hand() -> None:
    errors = np.full((2, 16), 0.05)
    errors[0, 12], errors[1, 13], errors[1, 0], errors[0, 9] = 0.6, np.nan, 0.3, 0.7
    head, shoulder, *_, ankle, overall = pckh_by_joint(errors, 0.5)
    assert (head, shoulder, ankle) == (50.0, (50 + 100) / 2, 100.0)
    assert overall == pytest.approx(100 * (27 - 2) / 27)  # 14 joints of 2 people without one that nobody annotated
    assert pckh_by_joint(errors, 0.1)[6] == (50 + 100) / 2


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["3", "--reuse-only"], TrainingError, "holds no finished run: leave --reuse-only out"),
        (["13"], DataError, "table 13 is made on mpii, not on faces300w"),
        (["14"], DataError, "table 14 is made on coco, not on faces300w"),
        (["9", "--sizes", "64", "128"], ConfigError, "table 9 is of one crop size"),
        (["8", "--sizes", "50"], ConfigError, "the recipe.*stages.0.input_size"),
        (["8", "--epochs", "0"], ConfigError, "--epochs 0"),
        (["quantizers", "--reuse-only", "--sizes", "64"], TrainingError, "cells-floor-64 holds no finished run"),
    ],
)
def test_what_a_table_cannot_be_made_of(
    tmp_path: Path, arguments: list[str], error: type[TrainError], message: str
) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    with pytest.raises(error, match=message):
        make("table", tmp_path, data, *arguments)


def test_a_table_of_data_asks_for_it() -> None:
    with pytest.raises(DataError, match="table 8 is made on a data set: add --data"):
        parse(["table", "8"]).execute()
    with pytest.raises(DataError, match="figure 7 is made on data sets: add --data"):
        parse(["figure", "7"]).execute()


def test_bodies_have_tables_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"table 8 is made on faces300w or wflw or .*, not on mpii"):
        make("table", tmp_path, f"mpii:{tmp_path}", "8")


@pytest.mark.parametrize(
    ("data", "epochs", "message"),
    [("wflw", 1, "was trained on wflw, not faces300w"), ("faces300w", 2, "was trained by another configuration")],
)
def test_a_run_of_other_data_or_of_another_recipe_is_not_reused(
    tmp_path: Path, data: str, epochs: int, message: str
) -> None:
    folder = tmp_path / "runs" / "compact-64-random-P1-seed0"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps({"data": [data]}))
    (tmp_path / "tiny.toml").write_text(TINY)
    config = load_config(Config, str(tmp_path / "tiny.toml")).with_epochs(epochs)
    (folder / "config.json").write_text(config.model_dump_json())
    faces = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    with pytest.raises(TrainingError, match=message):
        make("table", tmp_path, faces, "8", "--sizes", "64")


# ---------------------------------------------------------------- end to end


def test_tables_and_figures_of_faces(tmp_path: Path) -> None:
    """All that the runs of one crop size give, trained once for all of them."""
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    make("table", tmp_path, data, "8", "--sizes", "64")
    rows = read(tmp_path / "table-8.csv")
    assert rows[0] == ["resolution", "whose", *(f"k={k}" for k in range(1, 13)), "best", "best k"]
    assert [row[:2] for row in rows[-2:]] == [["64", "ours"], ["64", "paper"]]
    assert rows[-1][2] == "6.447"
    report = json.loads((tmp_path / "runs" / "compact-64-random-P1-seed0" / "report.json").read_text())
    assert float(rows[-2][2 + 8]) == pytest.approx(report["by_k"]["9"]["nme"], abs=0.001)
    assert float(rows[-2][2]) == pytest.approx(report["by_k"]["1"]["nme"], abs=0.001)

    make("table", tmp_path, data, "2", "--reuse-only", "--sizes", "64")
    rows = read(tmp_path / "table-2.csv")
    assert rows[1][:2] == ["mean activation", "ours"]
    assert rows[2] == ["mean activation", "paper", "0.44", "0.26", "0.17", "0.13"]

    make("table", tmp_path, data, "3", "--reuse-only", "--sizes", "64")
    rows = read(tmp_path / "table-3.csv")
    assert rows[-1] == [
        "this project, compact-64-random-P1-seed0",
        "ours",
        f"{report['by_k']['9']['nme']:.2f}",
        *"------",
    ]
    assert rows[-2][:3] == ["H3R (ours)", "paper", "3.81"]

    make("figure", tmp_path, data, "8", "--sizes", "64")
    rows = read(tmp_path / "figure-8.csv")
    assert [row[:2] for row in rows[1:]] == [["64", "baseline"], ["64", "method"]]
    assert [row[4] for row in rows[1:]] == ["6.50", "4.62"]
    assert float(rows[2][2]) == pytest.approx(report["by_k"]["9"]["nme"], abs=0.006)
    other = json.loads((tmp_path / "runs" / "compact-64-round-P1-seed0" / "report.json").read_text())
    assert float(rows[1][2]) == pytest.approx(other["by_k"]["1"]["nme"], abs=0.006)

    make("figure", tmp_path, data, "10", "--reuse-only", "--sizes", "64")
    make("table", tmp_path, data, "activation-sets", "--reuse-only", "--sizes", "64")
    assert [row[0] for row in read(tmp_path / "activation-sets.csv")[1:]] == list(NAMES)
    make("table", tmp_path, data, "backbones", "--sizes", "64")
    (compact,) = (row for row in read(tmp_path / "backbones.csv") if row[0] == "compact")
    assert compact[:4] == ["compact", "faces300w", "P1", "64 px"]
    assert float(compact[6]) == pytest.approx(report["by_k"]["9"]["nme"], abs=0.006)
    plots = {path.name for path in tmp_path.glob("*.png")}
    assert plots == {f"{name}.png" for name in ("table-8", "figure-8", "figure-10", "activation-sets", "backbones")}
    runs = {path.name for path in (tmp_path / "runs").iterdir()}
    assert runs == {"compact-64-random-P1-seed0", "compact-64-round-P1-seed0"}


def test_table_7_trains_nested_subsets_for_as_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.tables.ablation.FEWER_SAMPLES", (4,))
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    make("table", tmp_path, data, "7", "--sizes", "64")
    rows = read(tmp_path / "table-7.csv")
    ours = [row for row in rows if row[1] == "ours"]
    assert [row[0] for row in ours] == ["4", "8"]
    assert all(row[2:6] == ["-"] * 4 for row in ours)  # 256 and 128 pixels were not asked for
    assert all(float(cell) > 0 for row in ours for cell in row[6:])
    assert rows[4] == ["7500", "paper", "4.00", "3.81", "4.62", "3.99", "6.50", "4.62"]
    config = json.loads((tmp_path / "runs" / "compact-64-round-P1-4-seed0" / "config.json").read_text())
    assert (config["samples"], config["stages"][0]["epochs"], config["quantizer"]) == (4, 2, "round")


def test_table_9_trains_on_every_sigma_with_squared_error(tmp_path: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces', train=2, val=2)}"
    make("table", tmp_path, data, "9", "--sizes", "64")
    rows = read(tmp_path / "table-9.csv")
    assert [row[:2] for row in rows[1:5]] == [["0.0", "ours"], ["0.0", "paper"], ["0.5", "ours"], ["0.5", "paper"]]
    config = json.loads((tmp_path / "runs" / "compact-64-gaussian2.5-P1-seed0" / "config.json").read_text())
    assert (config["objective"], config["sigma"], config["quantizer"]) == ("gaussian", 2.5, "random")


def test_table_10_crosses_boxes(tmp_path: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    make("table", tmp_path, data, "10", "--sizes", "64")
    rows = read(tmp_path / "table-10.csv")
    ours = {tuple(row[:2]): row[3] for row in rows if row[2] == "ours"}
    assert list(ours) == [("P1", "P1"), ("P2", "P2"), ("P1", "P2"), ("P2", "P1")]
    assert ours["P1", "P1"] != ours["P1", "P2"]
    assert ours["P1", "P1"] != ours["P2", "P1"]
    assert [row[3] for row in rows if row[2] == "paper"] == ["3.81", "3.95", "5.34", "4.04"]


def test_quantizers_are_told_apart_by_their_correction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmaps, "EPOCHS", {Size.square(64): 1})
    monkeypatch.setattr(heatmaps, "QUANTIZERS", heatmaps.QUANTIZERS[:2])
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    make("table", tmp_path, data, "quantizers", "--sizes", "64")
    rows = read(tmp_path / "quantizers.csv")
    assert rows[0] == ["training", "64 px, argmax", "64 px, top9"]
    assert [row[0] for row in rows[1:]] == ["floor", "floor, corrected by +0.5"]
    assert rows[1][1:] != rows[2][1:]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["cells-floor-64"]


def test_runs_of_the_former_name_are_still_used(tmp_path: Path) -> None:
    (sigmoid,) = (each for each in heatmaps.HEATMAPS if "sigmoid" in each.label)
    assert sigmoid.run_spec(Size.square(64), tmp_path).name == "cell_sigmoid-random-64"
    (tmp_path / "binary-random-64").mkdir()
    spec = sigmoid.run_spec(Size.square(128), tmp_path)
    assert spec.start
    assert (spec.start.name, spec.name) == ("binary-random-64", "cell_sigmoid-random-128")


def test_figures_4_and_7(tmp_path: Path) -> None:
    parse(["figure", "4", "--out", str(tmp_path)]).execute()
    rows = read(tmp_path / "figure-4.csv")
    assert all(float(row[3]) == pytest.approx(float(row[2]), abs=0.02) for row in rows[1:])
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    parse(["figure", "7", "--data", data, data, "--out", str(tmp_path)]).execute()
    first, second = read(tmp_path / "figure-7.csv")[1:]
    assert first == second
    assert (first[1], first[7]) == ("12", "100")  # the eyes lie 45 to 60 pixels apart
    assert 45 <= float(first[4]) <= 60
    assert (tmp_path / "figure-4.png").is_file()
    assert (tmp_path / "figure-7.png").is_file()


# ---------------------------------------------------------------- bodies


def write_photo(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), noise)


def test_tables_12_and_14_on_a_miniature_of_coco(tmp_path: Path) -> None:
    people = [test_coco.person(number) for number in range(1, 5)]
    for split in ("train2017", "val2017"):
        test_coco.write(tmp_path, *people, split=split)
        write_photo(tmp_path / split / "000000000139.jpg", 640, 426)
    make("table", tmp_path, f"coco:{tmp_path}", "14", "--sizes", "96x64")
    rows = read(tmp_path / "table-14.csv")
    assert rows[0] == ["backbone", "k", "whose", *published(14).columns[2:]]
    ours = [row for row in rows if row[2] == "ours"]
    assert [row[1] for row in ours] == ["-", *(row[1] for row in published(14).rows[1:])]
    assert all(len(row) == 13 and 0 <= float(row[3]) <= 1 for row in ours)
    assert "crops of 96x64 pixels" in (tmp_path / "table-14.md").read_text()
    make("table", tmp_path, f"coco:{tmp_path}", "12", "--sizes", "96x64", "64")
    ours = [row for row in read(tmp_path / "table-12.csv") if row[4] == "ours"]
    assert [row[:4] for row in ours] == [
        ["compact", size, "yes", how]
        for size in ("96x64", "64x64")
        for how in ("-", "inference", "training and inference")
    ]
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    assert names == {
        f"compact-{size}-gaussian1{rounded}-P1-seed0" for size in ("96x64", "64") for rounded in ("-round", "")
    }


def test_tables_12_and_14_in_a_detector_s_boxes(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        test_coco.write(tmp_path, *(test_coco.person(number) for number in range(1, 3)), split=split)
        write_photo(tmp_path / split / "000000000139.jpg", 640, 426)
    boxes = test_coco.write_boxes(tmp_path / "found.json", {}, {"score": 0.4}, {"bbox": [300, 200, 90, 120]})
    for number in ("14", "12"):
        make("table", tmp_path, f"coco:{tmp_path}", number, "--sizes", "64", "--person-boxes", str(boxes))
        assert "those of found.json" in (tmp_path / f"table-{number}.md").read_text()
    ours = [row[:4] for row in read(tmp_path / "table-12.csv") if row[4] == "ours"]
    assert [row[2] for row in ours] == ["yes"] * 3 + ["-"] * 3
    run = next((tmp_path / "runs").glob("*-round-*"))
    with pytest.raises(ConfigError, match="table 8 is not about people in COCO"):
        make("table", tmp_path, f"faces300w:{tmp_path}", "8", "--person-boxes", str(boxes))
    evaluate = ["evaluate", "--run", str(run), "--data", f"coco:{tmp_path}", "--person-boxes", str(boxes)]
    parse([*evaluate, "--decoder", "quarter"]).execute()
    with pytest.raises(TrainingError, match="leave out"):
        parse([*evaluate, "--plots", str(tmp_path)]).execute()


def test_tables_12_and_14_have_the_paper_s_inputs() -> None:
    assert [str(size) for size in TABLES["12"].sizes] == ["256x192", "384x288"]
    assert [str(size) for size in TABLES["14"].sizes] == ["256x192"]
    assert {row[1] for row in published(12).rows} == {"256x192", "384x288"}
    recipe = load_config(Config, TABLES["12"].recipe)
    assert (recipe.stages[0].input_size, recipe.sigma, recipe.augment.rotation) == (Size(192, 256), 2.0, 45.0)
    assert dict(bodies.SIGMAS) == {Size(288, 384): 3.0}  # its maps have 96 rows instead of 64


def test_tables_11_and_13_on_a_miniature_of_mpii(tmp_path: Path) -> None:
    trained, tested = (
        test_mpii.image(name, test_mpii.person(), test_mpii.person(160.0)) for name in ("a.jpg", "b.jpg")
    )
    test_mpii.write(tmp_path, [trained, tested], [1, 1])
    (tmp_path / "annot").mkdir()
    listed = [{"image": "b.jpg", "center": [x, 201.0]} for x in (151.0, 160.0)]
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(listed))
    for name in ("a.jpg", "b.jpg"):
        write_photo(tmp_path / "images" / name, 400, 450)
    make("table", tmp_path, f"mpii:{tmp_path}", "13", "--sizes", "64x96")
    ours = [row for row in read(tmp_path / "table-13.csv") if row[2] == "ours"]
    assert [row[1] for row in ours] == [row[1] for row in published(13).rows]
    assert all(0 <= float(row[11]) <= float(row[10]) <= 100 for row in ours)  # Mean@0.1, Mean
    assert (tmp_path / "table-13.png").is_file()
    pose = tmp_path / "pose"
    torch.save(published_weights.filled(published_weights.pose_hrnet(32, 16)), tmp_path / "pose.pth")
    import_checkpoint(tmp_path / "pose.pth", pose, input_size=Size.square(64))
    make("table", tmp_path, f"mpii:{tmp_path}", "11", "--run", str(pose))
    ours = [row[:4] for row in read(tmp_path / "table-11.csv") if row[3] == "ours"]
    assert ours == [["HRNet-W32", "64x64", how, "ours"] for how in ("-", "inference")]
    make("table", tmp_path, f"mpii:{tmp_path}", "11", "--sizes", "64x96")
    ours = [row[:3] for row in read(tmp_path / "table-11.csv") if row[3] == "ours"]
    assert ours == [["compact", "64x96", how] for how in ("-", "inference", "training and inference")]
    assert "NME" not in (tmp_path / "table-11.md").read_text()


def test_the_recipe_of_bodies_is_hrnets() -> None:
    recipe = load_config(Config, "hrnet_pose")
    assert (recipe.name, recipe.epochs, recipe.milestones) == ("pose_hrnet_w32", 210, (170, 200))
    assert (recipe.batch_size, recipe.topk) == (128, 11)
    assert (recipe.objective, recipe.sigma, recipe.quantizer, recipe.learning_rate) == ("gaussian", 2.0, "round", 1e-3)
