"""A run on a miniature data set: it learns, resumes exactly, and refuses checkpoints that it cannot continue from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from torch._utils import ExceptionWrapper  # noqa: E402

from landmarks.size import Size  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.config import Config  # noqa: E402
from train.datasets.source import DataSource  # noqa: E402
from train.datasets.training_data import TrainingData  # noqa: E402
from train.engine.landmark_run import LandmarkRun  # noqa: E402
from train.errors import ConfigError, DataError, TrainingError  # noqa: E402
from train.evaluation.predict import predict  # noqa: E402
from train.evaluation.trained import load_run, open_run  # noqa: E402
from train.runs.weights import read_weights  # noqa: E402
from train.samples.dataset import TrainingSamples  # noqa: E402


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("miniature") / "faces"))


def config(epochs: int = 3, **changes: object) -> Config:
    stages = [{"epochs": epochs - 1, "input_size": 32}, {"epochs": 1, "input_size": 64}]
    return Config.model_validate({"stages": stages, "batch_size": 4, "warmup_epochs": 1, **changes})


def start(source: DataSource, folder: Path, epochs: int = 3, **changes: object) -> LandmarkRun:
    return LandmarkRun(config(epochs, **changes), TrainingData(("miniature",), source.train_faces()), folder, workers=0)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


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
    ("asked", "is_fast", "expected"),
    [("auto", True, "bfloat16"), ("auto", False, "float32"), ("float32", True, "float32")],
)
def test_a_run_says_which_precision_it_had(
    source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, is_fast: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: is_fast)
    start(source, tmp_path, epochs=2, precision=asked).train(source.test_faces(), evaluate_every=100)
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == expected


@pytest.mark.parametrize(
    ("objective", "quantizer"),
    [("cell_sigmoid", "random"), ("gaussian", "none"), ("gaussian", "random"), ("cells", "floor")],
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
    run = LandmarkRun(changed, TrainingData(("miniature",), source.train_faces()), tmp_path, workers=0)
    run.train(source.test_faces(), evaluate_every=100)
    course = losses(tmp_path)
    assert course[-1] < course[0]
    assert np.isfinite(json.loads((tmp_path / "report.json").read_text())["by_k"]["9"]["nme"])


def test_a_checkpoint_from_before_a_key_existed_resumes(source: DataSource, tmp_path: Path) -> None:
    run = start(source, tmp_path, epochs=2)
    run.save()
    state = torch.load(run.checkpoint, weights_only=True)
    del state["config"]["objective"]
    del state["config"]["ema"]
    torch.save(state, run.checkpoint)
    start(source, tmp_path, epochs=2).resume()
    load_run(tmp_path)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_run_is_an_unbroken_one(source: DataSource, tmp_path: Path, ema: float) -> None:
    unbroken = start(source, tmp_path / "a", ema=ema)
    unbroken.train(source.test_faces(), evaluate_every=1)

    broken = start(source, tmp_path / "b", ema=ema)
    save = broken.save

    def save_and_stop() -> None:
        save()
        if broken.epoch == 1:
            raise KeyboardInterrupt

    broken.save = save_and_stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.train(source.test_faces(), evaluate_every=1)
    resumed = start(source, tmp_path / "b", ema=ema)
    resumed.resume()
    resumed.train(source.test_faces(), evaluate_every=1)

    for file in ("metrics.jsonl", "report.json"):
        assert (tmp_path / "b" / file).read_text() == (tmp_path / "a" / file).read_text()
    assert len(losses(tmp_path / "b")) == 3
    states = [torch.load(run.checkpoint, weights_only=True) for run in (unbroken, resumed)]
    for part in ("model", "averaged") if ema else ("model",):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name


def test_a_checkpoint_of_another_configuration_is_refused(source: DataSource, tmp_path: Path) -> None:
    start(source, tmp_path, epochs=2).save()
    with pytest.raises(TrainingError, match="another configuration"):
        start(source, tmp_path, epochs=3).resume()


def test_a_checkpoint_without_a_state_of_training_is_not_resumed(source: DataSource, tmp_path: Path) -> None:
    """As `fit-shape` writes one: without the state of an optimiser."""
    run = start(source, tmp_path)
    run.save()
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    torch.save({name: checkpoint[name] for name in ("config", "epoch", "model")}, run.checkpoint)
    with pytest.raises(TrainingError, match="start from it with --weights"):
        run.resume()


@pytest.mark.parametrize("kept", [0, 30, 2000, -100])
def test_an_incomplete_checkpoint_is_named(source: DataSource, tmp_path: Path, kept: int) -> None:
    run = start(source, tmp_path)
    run.save()
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:kept])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a PyTorch file"):
        load_run(tmp_path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a PyTorch file"):
        run.resume()


@pytest.mark.parametrize("content", [[1], {}, {"conv1.weight": torch.zeros(3)}])
def test_a_file_with_other_content_is_not_a_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not the checkpoint of a run"):
        load_run(tmp_path)


def test_the_run_of_another_network_is_named(tmp_path: Path) -> None:
    torch.save({"config": {"name": "detector", "held_out": 10}, "epoch": 1, "model": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt': stages: must be given"):
        load_run(tmp_path)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on fewer cores
def test_workers_share_the_limit_of_the_image_cache(source: DataSource, tmp_path: Path) -> None:
    def limit(workers: int) -> int:
        run = LandmarkRun(config(), TrainingData(("miniature",), source.train_faces()), tmp_path, workers)
        samples = run._loader.dataset
        assert isinstance(samples, TrainingSamples)
        return samples._images._limit

    assert [limit(workers) / 2**30 for workers in (0, 1, 4)] == [6, 6, 1.5]


def test_an_unreadable_image_is_named_without_the_traceback_of_a_worker(source: DataSource, tmp_path: Path) -> None:
    class Loader:
        """Fails as PyTorch's DataLoader does when one of its workers fails."""

        def __iter__(self):
            try:
                raise DataError("7.png: cannot be read as an image")
            except DataError:
                ExceptionWrapper(where="in DataLoader worker process 0").reraise()

    run = start(source, tmp_path)
    run._loader = Loader()  # type: ignore[assignment]
    with pytest.raises(DataError, match=r"^7\.png: cannot be read as an image$"):
        run.train(source.test_faces())


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights(source: DataSource, tmp_path: Path) -> None:
    """The losses differ from those in float32, but not by more than 8 bits of mantissa explain."""
    course = {}
    for precision in ("float32", "bfloat16"):
        run = start(source, tmp_path / precision, epochs=2, precision=precision)
        types: list[object] = []
        head = run.state.model.get_submodule("head")
        head.register_forward_hook(lambda module, inputs, output, types=types: types.append(output.dtype))
        run.train(source.test_faces(), evaluate_every=100)
        course[precision] = losses(tmp_path / precision)
        assert types[0] == getattr(torch, precision)
        assert {value.dtype for value in run.state.model.parameters()} == {torch.float32}
    assert course["bfloat16"] != course["float32"]
    assert course["bfloat16"] == pytest.approx(course["float32"], rel=0.02)


def test_averaged_weights_are_the_result_of_a_run(source: DataSource, tmp_path: Path) -> None:
    """They are evaluated and exported, and another run starts from them."""
    run = start(source, tmp_path, epochs=2, ema=0.9)
    predictions = run.train(source.test_faces())
    assert predictions is not None
    state = torch.load(run.checkpoint, weights_only=True)
    wanted = state["averaged"]["head.weight"]
    assert not torch.equal(wanted, state["model"]["head.weight"])
    assert torch.equal(load_run(tmp_path)[1].state_dict()["head.weight"], wanted)
    assert torch.equal(read_weights(run.checkpoint)["head.weight"], wanted)
    figures = predict(
        open_run(tmp_path).network, source.test_faces(), run.config.codec(Size.square(64)), 1.25, [9]
    ).report(9)
    assert figures == predictions.report(9)
