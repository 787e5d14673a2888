"""Sets of other points than 98, from the command line on: trained, evaluated, converted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")
pytest.importorskip("h5py", reason="the training dependencies are not installed")

from tests.train.command import landmarks_train
from tests.train.datasets.test_cofw import phi, write
from tests.train.datasets.test_ibug300w import write_face
from tests.train.miniature import drawn_shape
from train.commands.command_line import parse

CONFIG = """
batch_size = 2
warmup_epochs = 0.5
stages = [{ epochs = 1, input_size = 64 }]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and COFW with images of noise."""
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "tiny.toml").write_text(CONFIG)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (160, 130, 3)).astype(np.uint8) for _ in range(4)]
    for suffix, part in (("Tr", "train"), ("T", "test")):
        write(folder / f"COFW_{part}_color.mat", suffix, images, [phi(30 + i, 50 + i) for i in range(4)])
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    done = landmarks_train(
        "fit", "--data", f"cofw:{folder}", "--config", folder / "tiny.toml", "--out", folder / "run", "--workers", 0
    )
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_run_on_29_points_is_evaluated_with_all_its_figures(run: Path, folder: Path) -> None:
    assert json.loads((run / "run.json").read_text())["layout"] == "cofw29"
    done = landmarks_train("evaluate", "--run", run, "--data", f"cofw:{folder}", "--split", "train")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["faces"] == 4
    assert set(figures["by_norm"]) == {"inter_ocular", "inter_pupil", "box", "tight_box"}
    assert list(figures["by_group"]) == ["brows", "eyes", "pupils", "nose", "mouth", "chin"]


def test_a_run_on_29_points_does_not_judge_68(run: Path, tmp_path: Path) -> None:
    write_face(tmp_path / "ibug", "a")
    done = landmarks_train("evaluate", "--run", run, "--data", f"300w:{tmp_path}", "--split", "challenge")
    assert done.returncode == 1
    assert "the network finds 29 points, but ibug68 has 68" in done.stderr


def test_a_conversion_is_fitted_and_used(folder: Path, tmp_path: Path) -> None:
    shapes = drawn_shape() + 0.02 * np.random.default_rng(0).normal(size=(50, 98, 2))
    np.savez(tmp_path / "shapes.npz", points=shapes)
    done = landmarks_train("fit-conversion", "--shapes", tmp_path / "shapes.npz", "--out", tmp_path / "conversion.npz")
    assert done.returncode == 0, done.stderr
    assert "fitted to 50 shapes" in done.stdout
    for part in ("afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset", "ibug"):
        write_face(tmp_path / part, "a")
    done = landmarks_train(
        *("fit", "--data", f"300w:{tmp_path}", "--conversion", tmp_path / "conversion.npz", "--workers", 0),
        *("--config", folder / "tiny.toml", "--out", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["layout"] == "wflw98"
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {name: figures["faces"] for name, figures in report["by_subset"].items()} == {"common": 2, "challenge": 1}


def test_a_conversion_of_the_wrong_points_is_one_line(folder: Path) -> None:
    done = landmarks_train("fit-conversion", "--data", f"cofw:{folder}", "--out", folder / "conversion.npz")
    assert done.returncode == 1
    assert done.stderr == "landmarks-train: a conversion is fitted to 98 points; cofw has 29\n"


def test_the_former_names_of_the_conversion_are_still_taken() -> None:
    assert parse(["fit-lift", "--data", "wflw:a", "--out", "b.npz"]).name == "fit-conversion"
    assert parse(["fit", "--data", "300w:a", "--out", "b", "--lift", "c.npz"]).arguments["conversion"] == Path("c.npz")
