"""The paper's recipe: what its configuration file says, and that an HRNet takes steps by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from tests.train.miniature import write_miniature  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.config import Augment, Config, load_config  # noqa: E402
from train.datasets.source import DataSource  # noqa: E402
from train.datasets.training_data import TrainingData  # noqa: E402
from train.engine.landmark_run import LandmarkRun  # noqa: E402
from train.engine.optimisation import learning_rate_factor  # noqa: E402
from train.errors import ConfigError  # noqa: E402


def test_fit_trains_by_the_recipe_unless_told_otherwise() -> None:
    arguments = parse(["fit", "--data", "wflw:data", "--out", "run"]).arguments
    recipe = load_config(Config, arguments["config"])
    assert (recipe.name, recipe.stages[-1].input_size, recipe.epochs) == ("hrnet_w18", 256, 60)
    assert (recipe.objective, recipe.quantizer, recipe.topk) == ("cells", "random", 9)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.batch_size) == (1e-4, 0.0, 16)


def test_the_augmentation_is_that_of_section_5_3() -> None:
    """A flip half the time, 30 degrees, 25 %, 16 pixels of 256; colours; an erased rectangle."""
    augment = load_config(Config, "h3r").augment
    assert augment == Augment()
    assert (augment.flip, augment.rotation, augment.scale, augment.shift) == (0.5, 30.0, 0.25, 16.0)
    assert min(augment.brightness, augment.contrast, augment.saturation, augment.erasing) > 0


def test_the_rate_falls_to_a_tenth_at_each_milestone() -> None:
    factor = learning_rate_factor(load_config(Config, "h3r"), batches=10)
    assert [factor(step) for step in (0, 299, 300, 499, 500, 599)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


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
    assert json.loads((tmp_path / "run" / "report.json").read_text())["faces"] == 2
