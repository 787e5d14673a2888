"""The detector's training on drawn faces: it learns, it resumes exactly, and exports what it learnt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from landmarks.detection import find_faces  # noqa: E402
from landmarks.runtime import DetectorNetwork  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.train.command import landmarks_train  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.datasets.image import read_image  # noqa: E402
from train.datasets.source import DataSource  # noqa: E402
from train.detection.config import DetectorConfig  # noqa: E402
from train.detection.evaluate import torch_network  # noqa: E402
from train.detection.export import open_detector  # noqa: E402
from train.detection.images import load_images  # noqa: E402
from train.detection.network import CenterDetector  # noqa: E402
from train.detection.run import DetectorRun, Step, load_detector  # noqa: E402
from train.detection.samples import MosaicBatch, MosaicBatches, MosaicSamples  # noqa: E402
from train.errors import ConfigError, DataError, TrainingError  # noqa: E402

TINY = {"input_size": 64, "batch_size": 4, "held_out": 4, "warmup_epochs": 0.5, "ema": 0.5}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("miniature") / "faces"))


def start(source: DataSource, folder: Path, epochs: int = 3, **settings: object) -> DetectorRun:
    config = DetectorConfig.model_validate({**TINY, "epochs": epochs, **settings})
    return DetectorRun(config, ("miniature",), [load_images(source, "train")], folder, workers=0)


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- network


def test_the_network_keeps_to_its_budget() -> None:
    """At most 1.7 MB of parameters, and at 640 x 480 pixels at most 0.5 G multiply-adds."""
    model = CenterDetector().eval()
    assert 4 * sum(p.numel() for p in model.parameters()) < 1.7e6
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        maps = model(torch.zeros(1, 480, 640, 3, dtype=torch.uint8))
    assert [tuple(level.shape) for level in maps] == [(1, 3, 60, 80), (1, 3, 30, 40), (1, 3, 15, 20)]
    assert counter.get_total_flops() / 2 < 0.5e9


def test_an_untrained_network_expects_few_faces() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        maps = CenterDetector().eval()(torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8))
    assert max(level[:, 0].sigmoid().max().item() for level in maps) < 0.02


# ---------------------------------------------------------------- loop


def test_it_learns(source: DataSource, tmp_path: Path) -> None:
    settings = {
        "compose": {"tiles": {1: 1.0}, "paste": 0.0},
        "warmup_epochs": 0,
        "learning_rate": 0.01,
        "batch_size": 3,
        "seed": 1,
    }
    start(source, tmp_path, epochs=30, **settings).train(load_images(source, "val"))
    losses = [row["loss"] for row in rows(tmp_path)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["test"]["photographs"] == 4
    assert report["held_out"]["photographs"] == 2
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["data"] == ["miniature"]
    assert described["run_id"].startswith("detector-")


def test_a_resumed_run_is_the_unbroken_one_to_the_last_bit(source: DataSource, tmp_path: Path) -> None:
    whole = start(source, tmp_path / "whole")
    whole.train(load_images(source, "val"))

    broken = start(source, tmp_path / "broken")
    steps = iter(range(1))

    class Stopped(Exception):
        pass

    def stop() -> None:
        DetectorRun.save(broken)
        if next(steps, None) is None:
            raise Stopped

    broken.save = stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        broken.train(load_images(source, "val"))

    resumed = start(source, tmp_path / "broken")
    resumed.resume()
    assert resumed.epoch == 2
    resumed.train(load_images(source, "val"))
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    for name, value in whole.state.result.state_dict().items():
        assert torch.equal(value, resumed.state.result.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on fewer cores
def test_workers_share_the_memory_for_images(source: DataSource, tmp_path: Path) -> None:
    config = DetectorConfig.model_validate({**TINY, "epochs": 1})
    run = DetectorRun(config, ("miniature",), [load_images(source, "train")], tmp_path, workers=4)
    samples = run._loader.dataset
    assert isinstance(samples, MosaicSamples)
    assert samples._composer._cache._limit / 2**30 == 1.5


def test_another_configuration_is_not_resumed(source: DataSource, tmp_path: Path) -> None:
    start(source, tmp_path, epochs=1).train(load_images(source, "val"))
    with pytest.raises(TrainingError, match="choose another --out"):
        start(source, tmp_path, epochs=2).resume()


def test_a_loss_that_is_not_finite_names_its_images(source: DataSource, tmp_path: Path) -> None:
    run = start(source, tmp_path)
    torch.nn.init.constant_(next(run.state.model.parameters()), float("nan"))
    step = Step(run.state, run.config, run.device)
    batch = MosaicBatch(torch.zeros(2, 64, 64, 3, dtype=torch.uint8), torch.zeros(2, 4, 84), torch.tensor([7, 3]))
    with pytest.raises(TrainingError, match=r"images \[7, 3\]"):
        step(batch)


def test_an_epoch_shows_the_first_set_and_a_share_of_the_others() -> None:
    config = DetectorConfig.model_validate({"batch_size": 4, "extra_data_fraction": 0.5})
    batches = MosaicBatches(6, 4, config)
    epochs = []
    for batches.epoch in range(2):
        shown = [key.image for batch in batches for key in batch]
        assert len(shown) == 8 == config.batch_size * len(batches)
        assert set(range(6)) < set(shown) < set(range(10))
        epochs.append(shown)
    assert epochs[0] != epochs[1]


# ---------------------------------------------------------------- command line


def run_command(*arguments: object) -> None:
    parse([str(argument) for argument in arguments]).execute()


def test_fit_evaluate_and_export(source: DataSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = f"faces300w:{source.root}", tmp_path / "run"
    model = tmp_path / "repository/detector/1/model.onnx"
    config = tmp_path / "tiny.toml"
    config.write_text("epochs = 1\n" + "\n".join(f"{key} = {value}" for key, value in TINY.items()))
    fit = ["fit-detector", "--data", data, "--config", config, "--out", run, "--workers", 0]
    run_command(*fit)
    assert "epoch 1/1" in capsys.readouterr().err  # the progress bar
    with pytest.raises(TrainingError, match="--resume"):
        run_command(*fit)

    run_command("calibrate-detector", "--run", run, "--data", data, "--false-boxes", 1000)
    assert json.loads(capsys.readouterr().out)["threshold"] == 0.05  # the lowest that is evaluated
    calibrated = json.loads((run / "report.json").read_text())
    assert (calibrated["threshold"], calibrated["train"]["photographs"]) == (0.05, len(load_images(source, "train")))

    # an epoch teaches little: whatever looks most like a face is one now
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps({**report, "threshold": 1e-6}))
    # a process of its own: the exporter warns, and here warnings are errors
    shutil.copytree(ROOT / "model_repo", tmp_path / "repository")
    done = landmarks_train("export-detector", "--run", run, "--repository", tmp_path / "repository")
    assert done.returncode == 0, done.stderr
    assert "threshold 1e-06" in done.stdout
    exported = DetectorNetwork(model, threads=1)
    metadata = exported.metadata
    assert metadata.commit == json.loads((run / "run.json").read_text())["commit"]
    assert exported.provenance in model.parents[1].joinpath("config.pbtxt").read_text()
    assert model.stat().st_size < 1.8e6

    network, metadata = open_detector(model)
    assert metadata.spec.threshold == 1e-6
    assert metadata.data == ("faces300w:faces",)
    image = read_image(next((source.root / "images").iterdir()))
    ours = find_faces(image, network, metadata.spec)
    theirs = find_faces(image, torch_network(load_detector(run)[1]), metadata.spec)
    # in any order: the scores of a network that has learned so little are nearly equal
    apart = np.abs(ours.boxes[:5, None] - theirs.boxes[None, :]).max(axis=2)
    assert apart.min(axis=1).max() < 0.1

    figures = []
    for which in (("--run", run), ("--model", model)):
        run_command("evaluate-detector", *which, "--data", data, "--threshold", 0.01)
        figures.append(json.loads(capsys.readouterr().out))
    assert figures[0]["photographs"] == figures[1]["photographs"] == 4
    assert figures[0]["recall"] == figures[1]["recall"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["fit-detector", "--data", "wflw:/x", "--out", "run"], DataError),
        (["fit-detector", "--data", "faces300w:/nonexistent", "--out", "run"], DataError),
        (["fit-detector", "--data", "faces300w:/x", "--config", "/nonexistent", "--out", "run"], ConfigError),
        (["calibrate-detector", "--run", "/nonexistent", "--data", "faces300w:/nonexistent"], TrainingError),
        (["export-detector", "--run", "/nonexistent", "--repository", "/nonexistent"], TrainingError),
        (["evaluate-detector", "--run", "/nonexistent", "--data", "faces300w:/nonexistent"], TrainingError),
        (["evaluate-detector", "--model", "/nonexistent", "--data", "faces300w:/nonexistent"], TrainingError),
    ],
)
def test_what_the_user_can_correct_is_a_typed_error(arguments: list[str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        run_command(*arguments)
