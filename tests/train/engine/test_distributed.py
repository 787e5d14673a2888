"""Two real processes, as torchrun starts them, train as one: same loss, same weights, one set of files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from tests.train.engine import sliced  # noqa: E402
from tests.train.engine.sliced import READY  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.config import Config  # noqa: E402
from train.errors import ConfigError  # noqa: E402
from train.samples.dataset import EpochBatches  # noqa: E402

CONFIG = """
batch_size = 8
ema = 0.9
precision = "float32"
stages = [{ epochs = 6, input_size = 64 }]
"""


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@dataclass(frozen=True)
class Shared:
    """The results of tests.train.engine.sliced in two processes."""

    data: Path
    config: Path
    out: Path
    returncode: int
    stdout: str
    """What was printed after the interrupt."""
    stderr: str


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """One launch for all tests, as the import of torch takes long; Ctrl-C ends it."""
    out = tmp_path_factory.mktemp("shared")
    data, config, log = write_miniature(out / "faces"), out / "config.toml", out / "log"
    config.write_text(CONFIG)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    fit = ["fit", "--data", f"faces300w:{data}", "--config", config, "--out", out / "interrupted"]
    # on the CPU, as there may be one GPU for the two; and with one thread each, as either would use all cores
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*torchrun, "tests.train.engine.sliced", *map(str, fit)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        before = list(takewhile(lambda line: READY not in line, process.stdout))
        assert next(process.stdout, "").startswith("epoch 0"), "".join(before) + log.read_text()
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    return Shared(data, config, out, process.returncode, rest, log.read_text())


def results(shared: Shared, rank: int) -> dict[str, Any]:
    return torch.load(shared.out / f"rank{rank}.pt", weights_only=True)


def test_two_processes_take_the_steps_of_one(shared: Shared) -> None:
    """Gradients, batch statistics and the mean over unevenly spread points are those of the complete batch.

    Only the order of summation differs. Plain gradient descent passes that rounding on unchanged: 1e-7 a sum, about
    1e-5 of a tensor's largest value after three steps through some thirty normalisations.
    """
    one = sliced.steps()
    for rank in (0, 1):
        two = results(shared, rank)["steps"]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        for name, value in one["model"].items():
            scale = float(value.abs().max())
            torch.testing.assert_close(two["model"][name], value, rtol=0, atol=1e-4 * scale, msg=name)


def test_both_processes_end_with_the_same_weights(shared: Shared) -> None:
    first, second = (results(shared, rank)["steps"]["model"] for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_loss_that_is_not_finite_in_one_process_ends_both_and_names_the_complete_batch(shared: Shared) -> None:
    for rank in (0, 1):
        error = results(shared, rank)["with_nan"]["error"]
        assert "nan in the batch of faces [100, 101, 102, 103, 104, 105, 106, 107]" in error


def test_a_run_of_two_processes_has_the_losses_of_one(shared: Shared, tmp_path: Path) -> None:
    """Close at first. AdamW divides gradients near zero by their own size, and with them their rounding, which grows.

    How much depends on the threads that share a sum: 2e-7 to 4e-6 of the second epoch's loss were seen.
    """
    sliced.fit(shared.data, shared.config, tmp_path)
    one, two = losses(tmp_path), losses(shared.out / "unbroken")
    assert len(one) == 6
    assert two[:2] == pytest.approx(one[:2], rel=1e-4)
    assert two == pytest.approx(one, rel=2e-2)


def test_two_processes_resume_exactly(shared: Shared) -> None:
    broken, unbroken = shared.out / "broken", shared.out / "unbroken"
    assert (broken / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    mine, wanted = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (broken, unbroken))
    for part in ("model", "averaged"):
        for name, value in wanted[part].items():
            assert torch.equal(mine[part][name], value), name


def test_ctrl_c_is_one_line_and_keeps_the_last_epoch(shared: Shared) -> None:
    assert shared.returncode != 0
    assert shared.stderr.count("landmarks-train: stopped; fit --resume continues") == 1
    assert "[rank" not in shared.stderr  # torch marks the traceback of a process so
    epochs = torch.load(shared.out / "interrupted" / "checkpoint.pt", weights_only=True)["epoch"]
    assert 1 <= epochs < 6
    assert losses(shared.out / "interrupted") == losses(shared.out / "unbroken")[:epochs]
    assert shared.stdout.count("epoch") == epochs - 1  # printed by the first process alone


# ---------------------------------------------------------------- slices of batches


def config(batch_size: int) -> Config:
    return Config.model_validate({"stages": [{"epochs": 1, "input_size": 32}], "batch_size": batch_size})


def test_the_slices_of_a_batch_make_the_batch_of_one_process() -> None:
    batches = list(EpochBatches(20, config(6)))
    parts = [list(EpochBatches(20, config(6), rank, 3)) for rank in range(3)]
    assert [len(batch) for batch in batches] == [6, 6, 6]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 2, 2]] * 3
    assert [a + b + c for a, b, c in zip(*parts, strict=True)] == batches


@pytest.mark.parametrize(("faces", "batch_size", "message"), [(20, 6, "among 4 processes"), (7, 8, "there are 7")])
def test_batches_that_cannot_be_shared_evenly_are_refused(faces: int, batch_size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"batch_size: .*{message}"):
        EpochBatches(faces, config(batch_size), 0, 4)
