"""The recipe of the paper's section 5.3: what its configuration file says, and that an HRNet takes steps by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.size import Size  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.config import Config, load_config  # noqa: E402
from train.datasets.source import DataSource  # noqa: E402
from train.datasets.training_data import TrainingData, subset  # noqa: E402
from train.engine.landmark_run import LandmarkRun  # noqa: E402
from train.engine.optimisation import learning_rate_factor  # noqa: E402
from train.errors import ConfigError  # noqa: E402


def test_fit_trains_by_the_recipe_unless_told_otherwise() -> None:
    arguments = parse(["fit", "--data", "wflw:data", "--out", "run"]).arguments
    recipe = load_config(Config, arguments["config"])
    assert (recipe.name, [(stage.epochs, stage.input_size) for stage in recipe.stages]) == (
        "hrnet_w18",
        [(150, Size.square(256))],
    )
    assert (recipe.stride, recipe.pixel_rule) == (4, "corner")
    assert (recipe.objective, recipe.quantizer, recipe.topk) == ("cells", "random", 9)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.batch_size) == (0.001, 0.0, 16)
    assert (recipe.warmup_epochs, recipe.gradient_clip, recipe.ema, recipe.held_out) == (0.0, 0.0, 0.0, 0)
    assert (recipe.boxes, recipe.flip_averaging) == ("P1", True)


def test_the_augmentation_is_that_of_section_5_3() -> None:
    augment = load_config(Config, "h3r").augment
    assert (augment.flip, augment.rotation, augment.scale, augment.shift) == (0.5, 30.0, 0.25, 16.0)
    assert (augment.brightness, augment.contrast, augment.saturation) == (0.125, 0.5, 0.5)
    assert (augment.large_rotation, augment.occlusion, augment.photometric) == (0.0, 0.0, None)
    assert augment.erasing > 0


def test_the_rate_is_divided_by_ten_every_60_epochs() -> None:
    factor = learning_rate_factor(load_config(Config, "h3r"), batches=10)
    assert [factor(step) for step in (0, 599, 600, 1199, 1200, 1499)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_hrnets_own_schedule_has_its_own_name() -> None:
    hrnet = load_config(Config, "hrnet")
    assert (hrnet.learning_rate, hrnet.milestones, hrnet.epochs, hrnet.batch_size) == (1e-4, (30, 50), 60, 16)
    assert (hrnet.boxes, hrnet.flip_averaging) == ("P2", False)


def test_a_shorter_schedule_keeps_its_proportions() -> None:
    short = load_config(Config, "h3r").with_epochs(30)
    assert ([stage.epochs for stage in short.stages], short.milestones) == ([30], (12, 24))
    stages = load_config(Config, "compact").with_epochs(14).stages  # of 50 and 20
    assert [(stage.epochs, stage.input_size) for stage in stages] == [(10, Size.square(128)), (4, Size.square(256))]
    with pytest.raises(ConfigError, match="--epochs 1: the configuration has 2 stages"):
        load_config(Config, "compact").with_epochs(1)


def test_fit_replaces_boxes_epochs_and_samples(tmp_path: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    (tmp_path / "tiny.toml").write_text("batch_size = 2\nstages = [{ epochs = 9, input_size = 32 }]\n")
    tiny = ["fit", "--data", data, "--config", str(tmp_path / "tiny.toml"), "--workers", "0"]
    replaced = ["--boxes", "P1", "--epochs", "1", "--samples", "4"]
    parse([*tiny, "--out", str(tmp_path / "run"), *replaced]).execute()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["boxes"], config["samples"]) == ("P1", 4)
    assert config["stages"] == [{"epochs": 1, "input_size": 32}]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["faces"] == 4
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["boxes"], report["flip_averaged"]) == ("P1", False)
    with pytest.raises(ConfigError, match="samples: 9 faces are asked for, but the data set has 8 to train on"):
        parse([*tiny, "--out", str(tmp_path / "other"), "--samples", "9"]).execute()


def test_smaller_subsets_are_parts_of_larger_ones_and_depend_on_the_seed(tmp_path: Path) -> None:
    faces = DataSource("faces300w", write_miniature(tmp_path / "faces", train=16)).train_faces()
    few, more = ([face.image.name for face in subset(faces, count, 0)] for count in (4, 8))
    assert len(set(few)) == 4
    assert set(few) < set(more)
    assert few == sorted(few)  # the order of the data set
    assert {face.image.name for face in subset(faces, 8, 1)} != set(more)


def test_a_rate_with_milestones_may_rise_first() -> None:
    values = {"stages": [{"epochs": 9, "input_size": 64}], "warmup_epochs": 1, "milestones": [4]}
    factor = learning_rate_factor(Config.model_validate(values), batches=4)
    assert [factor(step) for step in (0, 3, 4, 15, 16)] == pytest.approx([0.2, 0.8, 1, 1, 0.1])


def test_the_backbone_can_be_replaced(tmp_path: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces', train=16)}"
    fit = parse(["fit", "--data", data, "--out", str(tmp_path / "run"), "--backbone", "resnet"])
    with pytest.raises(ConfigError, match="unknown backbone 'resnet'; known: compact, compact_deep, hrnet_w18"):
        fit.execute()


def test_an_hrnet_takes_steps_by_the_recipe(tmp_path: Path) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces", train=4, val=2))
    small = {"stages": [{"epochs": 1, "input_size": 64}], "batch_size": 2}
    run = LandmarkRun(
        load_config(Config, "h3r", small), TrainingData(("faces300w",), source.train_faces()), tmp_path / "run", 0
    )
    run.train(source.test_faces())
    assert run.state.schedule.last_epoch == 2  # two steps of two faces
    (row,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert row["loss"] == pytest.approx(5.545, abs=0.3)  # ln(16 * 16), as of nearly even maps
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["faces"], report["boxes"], report["flip_averaged"]) == (2, "P1", "points")
