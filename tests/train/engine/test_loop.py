"""The loop on a miniature data set: it learns, it resumes exactly, it stops on nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from tests.train.miniature import write_miniature  # noqa: E402
from train.backbones.compact import Compact  # noqa: E402
from train.config import Config, load_config  # noqa: E402
from train.datasets.source import DataSource  # noqa: E402
from train.datasets.training_data import TrainingData  # noqa: E402
from train.engine.landmark_run import LandmarkRun  # noqa: E402
from train.engine.loop import train_one_epoch  # noqa: E402
from train.engine.optimisation import moving_average, warmup_cosine  # noqa: E402
from train.engine.train_state import TrainState  # noqa: E402
from train.errors import ConfigError, DataError, TrainingError  # noqa: E402
from train.evaluation.predict import predict  # noqa: E402
from train.evaluation.trained import load_run, open_run  # noqa: E402
from train.objectives import (  # noqa: E402
    OUTSIDE,
    CellObjective,
    heatmap_loss,
)
from train.runs.record import MetricsLog  # noqa: E402
from train.runs.weights import read_weights  # noqa: E402
from train.samples.dataset import Batch, TrainingSamples  # noqa: E402


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


def test_loss_of_a_batch_without_a_point_on_its_map_is_zero() -> None:
    assert heatmap_loss(torch.zeros(1, 2, 4, 4), torch.full((1, 2), OUTSIDE)).item() == 0.0


def test_a_loss_that_is_not_finite_names_its_faces() -> None:
    model = Compact(points=1)
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    crops = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    batch = Batch(crops, torch.zeros(2, 1, dtype=torch.int64), torch.tensor([17, 4]))
    cpu = torch.device("cpu")
    state = TrainState(model, optimizer, schedule, None, gradient_clip=1.0)
    with pytest.raises(TrainingError, match=r"nan in the batch of faces \[17, 4\]"):
        train_one_epoch(state, model, CellObjective(), [batch], cpu, torch.float32)


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


def test_a_network_that_no_training_ended_in_is_not_gone_on_with(source: DataSource, tmp_path: Path) -> None:
    """As `fit-shape` leaves one: made rather than trained."""
    run = start(source, tmp_path)
    run.save()
    made = torch.load(run.checkpoint, weights_only=True)
    torch.save({name: made[name] for name in ("config", "epoch", "model")}, run.checkpoint)
    with pytest.raises(TrainingError, match="start from it with --weights"):
        run.resume()


@pytest.mark.parametrize("kept", [0, 30, 2000, -100])
def test_a_torn_checkpoint_is_named(source: DataSource, tmp_path: Path, kept: int) -> None:
    run = start(source, tmp_path)
    run.save()
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:kept])
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a PyTorch file"):
        load_run(tmp_path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not a PyTorch file"):
        run.resume()


@pytest.mark.parametrize("content", [[1], {}, {"conv1.weight": torch.zeros(3)}])
def test_a_file_of_something_else_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: not the checkpoint of a run"):
        load_run(tmp_path)


def test_the_run_of_another_network_is_named(tmp_path: Path) -> None:
    torch.save({"config": {"name": "detector", "held_out": 10}, "epoch": 1, "model": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt': stages: Field required"):
        load_run(tmp_path)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on fewer cores
def test_workers_share_what_is_kept_of_photographs(source: DataSource, tmp_path: Path) -> None:
    def limit(workers: int) -> int:
        run = LandmarkRun(config(), TrainingData(("miniature",), source.train_faces()), tmp_path, workers)
        samples = run._loader.dataset
        assert isinstance(samples, TrainingSamples)
        return samples._images._limit

    assert [limit(workers) / 2**30 for workers in (0, 1, 4)] == [6, 6, 1.5]


def test_an_unreadable_photograph_is_named_without_the_traceback_of_a_worker(
    source: DataSource, tmp_path: Path
) -> None:
    from torch._utils import ExceptionWrapper

    class Loader:
        """As torch's DataLoader when a worker of it fails."""

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
    """The losses differ from those in float32, but by no more than 8 bits of mantissa explain."""
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


# ---------------------------------------------------------------- averaged weights


def averages(decay: float, *weights: float) -> list[float]:
    """The averaged weight after each of a single weight's values."""
    model = torch.nn.Linear(1, 1, bias=False)
    average, course = moving_average(model, decay), []
    for weight in weights:
        with torch.no_grad():
            model.weight.fill_(weight)
        average.update_parameters(model)
        course.append(next(average.module.parameters()).item())
    return course


def test_an_average_begins_with_the_first_weights_and_forgets_them_soon() -> None:
    # kept: nothing, then 2/11, then 3/12
    assert averages(0.9, 1.0, 0.0, 11.0) == pytest.approx([1.0, 0.1818182, 8.295455], rel=1e-6)


def test_the_decay_is_the_most_that_an_average_keeps() -> None:
    assert averages(0.1, 1.0, 0.0, 1.0) == pytest.approx([1.0, 0.1, 0.91], rel=1e-6)


def test_statistics_of_batch_normalisation_are_copied_into_the_average() -> None:
    model = torch.nn.BatchNorm2d(1)
    average = moving_average(model, 0.9)
    for mean in (1.0, 5.0):
        model.load_state_dict(model.state_dict() | {"running_mean": torch.tensor([mean])})
        average.update_parameters(model)
    assert average.module.state_dict()["running_mean"].tolist() == [5.0]


def test_averaged_weights_are_the_result_of_a_run(source: DataSource, tmp_path: Path) -> None:
    """They are evaluated, exported, and what another run starts from."""
    run = start(source, tmp_path, epochs=2, ema=0.9)
    predictions = run.train(source.test_faces())
    assert predictions is not None
    state = torch.load(run.checkpoint, weights_only=True)
    wanted = state["averaged"]["head.weight"]
    assert not torch.equal(wanted, state["model"]["head.weight"])
    assert torch.equal(load_run(tmp_path)[1].state_dict()["head.weight"], wanted)
    assert torch.equal(read_weights(run.checkpoint)["head.weight"], wanted)
    figures = predict(open_run(tmp_path).network, source.test_faces(), run.config.codec(64), 1.25, [9]).report(9)
    assert figures == predictions.report(9)


# ---------------------------------------------------------------- the journal


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in board.Scalars(name)]


def test_tensorboard_has_the_figures_of_every_epoch(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as journal:
        journal.add({"epoch": 0, "input_size": 64, "learning_rate": 0.5, "loss": 4.0})
        journal.add({"epoch": 1, "input_size": 128, "learning_rate": 0.25, "loss": 3.0, "nme": 5.0, "faces": 4})
    assert scalars(tmp_path, "loss") == [(0, 4.0), (1, 3.0)]
    assert scalars(tmp_path, "learning_rate") == [(0, 0.5), (1, 0.25)]
    assert scalars(tmp_path, "input_size") == [(0, 64.0), (1, 128.0)]
    assert scalars(tmp_path, "nme") == [(1, 5.0)]


def test_a_resumed_journal_has_each_epoch_once(tmp_path: Path) -> None:
    """Also where the interrupted run had written more than its checkpoint holds."""
    with MetricsLog(tmp_path, 0) as journal:
        for epoch in range(3):
            journal.add({"epoch": epoch, "loss": 4.0 - epoch})
    with MetricsLog(tmp_path, 2) as journal:
        journal.add({"epoch": 2, "loss": 1.5})
        journal.add({"epoch": 3, "loss": 1.0})
    assert scalars(tmp_path, "loss") == [(0, 4.0), (1, 3.0), (2, 1.5), (3, 1.0)]
    assert losses(tmp_path) == [4.0, 3.0, 1.5, 1.0]


# ---------------------------------------------------------------- the learning rate


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [warmup_cosine(step, warmup=4, total=20) for step in range(21)]
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
        ("[[stages]]\nepochs = 1\ninput_size = 64\nsize = 1", "stages.0.size"),
        ("[augment]\nflips = 1\n[[stages]]\nepochs = 1\ninput_size = 64", "augment.flips"),
        ("ema = 1\n[[stages]]\nepochs = 1\ninput_size = 64", "ema"),
        ("stages = []", "stages"),
        ("stride = 8\n[[stages]]\nepochs = 1\ninput_size = 64", "stride: Input should be 4"),
        ('quantizer = "none"\n[[stages]]\nepochs = 1\ninput_size = 64', "needs a quantizer"),
        ("not toml", "cannot read"),
    ],
)
def test_unusable_configurations_are_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(Config, str(path))


def test_a_configuration_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\x7fELF\xff")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*config\.toml"):
        load_config(Config, str(tmp_path / "config.toml"))


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load_config(Config, str(tmp_path / "nothing.toml"))
