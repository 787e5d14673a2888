"""The loop on a miniature data set: it learns, it resumes exactly, it stops on nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from tests.train.miniature import write_miniature  # noqa: E402
from train.backbones.compact import Compact  # noqa: E402
from train.codecs import (  # noqa: E402
    OUTSIDE,
    CellObjective,
    heatmap_loss,
)
from train.config import Config, load_config  # noqa: E402
from train.datasets import DataSource  # noqa: E402
from train.errors import ConfigError, TrainingError  # noqa: E402
from train.loop import Run, TrainingData, train_one_epoch, warmup_then_cosine  # noqa: E402
from train.samples import Batch  # noqa: E402


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("miniature") / "faces"))


def config(epochs: int = 3) -> Config:
    stages = [{"epochs": epochs - 1, "input_size": 32}, {"epochs": 1, "input_size": 64}]
    return Config.model_validate({"stages": stages, "batch_size": 4, "warmup_epochs": 1})


def start(source: DataSource, folder: Path, epochs: int = 3) -> Run:
    return Run(config(epochs), TrainingData(("miniature",), source.train_faces()), folder, workers=0)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- model


def test_the_backbone_keeps_to_its_budget() -> None:
    """At most 1 M parameters and about 0.5 G multiply-adds at 256 pixels."""
    from torch.utils.flop_counter import FlopCounterMode

    model = Compact().eval()
    assert sum(p.numel() for p in model.parameters()) < 1_000_000
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        logits = model(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
    assert tuple(logits.shape) == (1, 98, 64, 64)
    assert counter.get_total_flops() / 2 < 0.5e9


# ---------------------------------------------------------------- loss


def test_loss_of_even_logits_is_the_log_of_the_cells() -> None:
    assert heatmap_loss(torch.zeros(2, 98, 8, 8), torch.zeros(2, 98, dtype=torch.int64)).item() == pytest.approx(
        np.log(64)
    )


def test_loss_reads_the_target_as_row_times_width_plus_column() -> None:
    logits = torch.full((1, 1, 4, 4), -50.0)
    logits[0, 0, 2, 1] = 50.0
    assert heatmap_loss(logits, torch.tensor([[2 * 4 + 1]])).item() == pytest.approx(0.0, abs=1e-6)
    assert heatmap_loss(logits, torch.tensor([[1 * 4 + 2]])).item() == pytest.approx(100.0, abs=1e-3)


def test_loss_leaves_out_points_beyond_the_map() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    logits[0, 1] = torch.arange(16.0).reshape(4, 4)
    assert heatmap_loss(logits, torch.tensor([[3, OUTSIDE]])).item() == pytest.approx(np.log(16))


def test_a_loss_that_is_not_finite_names_its_faces() -> None:
    model = Compact(points=1)
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    crops = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    batch = Batch(crops, torch.zeros(2, 1, dtype=torch.int64), torch.tensor([17, 4]))
    with pytest.raises(TrainingError, match=r"nan in the batch of faces \[17, 4\]"):
        train_one_epoch(model, CellObjective(), [batch], optimizer, schedule, 1.0, torch.device("cpu"), torch.float32)


# ---------------------------------------------------------------- loop


def test_training_learns_and_reports(source: DataSource, tmp_path: Path) -> None:
    run = start(source, tmp_path, epochs=12)
    run.train(source.test_faces(), evaluate_every=100)
    course = losses(tmp_path)
    assert course[0] > course[-2] + 0.3
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["faces"] == 4
    assert set(report["by_k"]) == {"1", "9"}
    origin = json.loads((tmp_path / "run.json").read_text())
    assert origin["run_id"].startswith("compact-")
    assert origin["faces"] == 8
    assert json.loads((tmp_path / "config.json").read_text())["stages"][1] == {"epochs": 1, "input_size": 64}


@pytest.mark.parametrize(
    ("objective", "quantizer"), [("binary", "random"), ("gaussian", "none"), ("gaussian", "random"), ("cells", "floor")]
)
def test_every_objective_lowers_its_loss(source: DataSource, tmp_path: Path, objective: str, quantizer: str) -> None:
    changed = Config.model_validate(
        {
            **config(2).model_dump(),
            "stages": [{"epochs": 6, "input_size": 32}],
            "objective": objective,
            "quantizer": quantizer,
        }
    )
    run = Run(changed, TrainingData(("miniature",), source.train_faces()), tmp_path, workers=0)
    run.train(source.test_faces(), evaluate_every=100)
    course = losses(tmp_path)
    assert course[-1] < course[0]
    assert np.isfinite(json.loads((tmp_path / "report.json").read_text())["by_k"]["9"]["nme"])


def test_a_checkpoint_from_before_a_key_existed_resumes(source: DataSource, tmp_path: Path) -> None:
    run = start(source, tmp_path, epochs=2)
    run.save()
    state = torch.load(run.checkpoint, weights_only=True)
    del state["config"]["objective"]
    torch.save(state, run.checkpoint)
    start(source, tmp_path, epochs=2).resume()


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(source: DataSource, tmp_path: Path) -> None:
    unbroken = start(source, tmp_path / "a")
    unbroken.train(source.test_faces())

    broken = start(source, tmp_path / "b")
    save = broken.save

    def save_and_stop() -> None:
        save()
        if broken.epoch == 1:
            raise KeyboardInterrupt

    broken.save = save_and_stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.train(source.test_faces())
    resumed = start(source, tmp_path / "b")
    resumed.resume()
    resumed.train(source.test_faces())

    assert losses(tmp_path / "b") == losses(tmp_path / "a")[1:]
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_checkpoint_of_another_configuration_is_refused(source: DataSource, tmp_path: Path) -> None:
    start(source, tmp_path, epochs=2).save()
    with pytest.raises(TrainingError, match="another configuration"):
        start(source, tmp_path, epochs=3).resume()


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [warmup_then_cosine(step, warmup=4, total=20) for step in range(21)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[4] == 1.0
    assert factors[12] == pytest.approx(0.5)
    assert factors[20] == pytest.approx(0.0)
    assert sorted(factors[4:], reverse=True) == factors[4:]


# ---------------------------------------------------------------- configuration


def test_stages_follow_one_another() -> None:
    both = config(3)
    assert [both.stage_at(epoch).input_size for epoch in range(4)] == [32, 32, 64, 64]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat = 1", "learning_rat"),
        ("learning_rate = -1\n[[stages]]\nepochs = 1\ninput_size = 64", "learning_rate"),
        ("[[stages]]\nepochs = 1\ninput_size = 50", "stages.0.input_size"),
        ("stages = []", "stages"),
        ('quantizer = "none"\n[[stages]]\nepochs = 1\ninput_size = 64', "needs a quantizer"),
        ("not toml", "cannot read"),
    ],
)
def test_unusable_configurations_are_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load_config(str(tmp_path / "nothing.toml"))
