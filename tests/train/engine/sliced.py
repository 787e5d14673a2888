"""Training steps and runs that test_distributed.py compares: in two processes of torchrun, and in its own.

Run as a command, it does them all and then is `landmarks-train fit`, which the test interrupts.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.__main__ import main
from train.backbones.compact import Compact
from train.config import Config, load_config
from train.datasets.face import AnnotatedFace
from train.datasets.source import DataSource
from train.datasets.training_data import TrainingData
from train.engine import distributed, landmark_run
from train.engine.landmark_run import LandmarkRun
from train.engine.loop import train_one_epoch
from train.engine.train_state import TrainState
from train.errors import TrainingError
from train.evaluation.predictions import Predictions
from train.objectives import OUTSIDE, CellObjective
from train.samples.dataset import Batch

BATCH, POINTS, SIZE = 8, 5, 64
NAN_CELL = 200
"""A target cell that makes the loss of NanObjective not a number."""
READY = "ready to be interrupted"


class NanObjective(CellObjective):
    """Its loss is not a number for a slice with a point whose target is NAN_CELL."""

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        return super().loss(logits, targets, weights) * (torch.nan if (targets == NAN_CELL).any() else 1.0)


def batches(count: int) -> list[Batch]:
    """Slices of random batches, with random weights of the points.

    In the first half of a batch one point in five is on its map, in the second all.
    """
    random = torch.Generator().manual_seed(1)
    made = []
    for number in range(count):
        crops = torch.randint(0, 256, (BATCH, SIZE, SIZE, 3), dtype=torch.uint8, generator=random)
        targets = torch.randint(0, NAN_CELL, (BATCH, POINTS), generator=random)
        targets[: BATCH // 2, 1:] = OUTSIDE
        weights = 0.5 + 0.5 * torch.rand((BATCH, POINTS), generator=random)
        indices = 100 * number + torch.arange(BATCH)
        share = BATCH // distributed.world_size()
        part = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
        made.append(Batch(crops[part], targets[part], weights[part], indices[part]))
    return made


def steps(with_nan: bool = False) -> dict[str, Any]:
    """Three steps of plain gradient descent: the mean loss and the state of the model, or the message of the error."""
    torch.manual_seed(0)
    here = torch.device("cpu")
    model = distributed.synchronize_batchnorm(Compact(POINTS), here)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    objective, parts = CellObjective(), batches(3)
    if with_nan:
        objective = NanObjective()
        # only the last slice's last face
        parts[1].targets[-1, 0] = NAN_CELL if distributed.rank() == distributed.world_size() - 1 else 0
    try:
        network = distributed.data_parallel(model)
        state = TrainState(model, optimizer, schedule, None, gradient_clip=1e3)
        loss = train_one_epoch(state, network, objective, parts, here, torch.float32)
    except TrainingError as error:
        return {"error": str(error)}
    return {"loss": loss, "model": model.state_dict()}


class BrokenRun(LandmarkRun):
    """A run that is interrupted in its fourth epoch."""

    def _train_epoch(self, model: nn.Module) -> dict[str, Any]:
        if self.epoch == 3:
            raise KeyboardInterrupt
        return super()._train_epoch(model)


def fit(data: Path, config: Path, folder: Path, kind: type[LandmarkRun] = LandmarkRun) -> None:
    """A run to its end, from its checkpoint on where it has one."""
    source = DataSource("faces300w", data)
    run = kind(load_config(Config, str(config)), TrainingData(("miniature",), source.train_faces()), folder, workers=0)
    if run.checkpoint.exists():
        run.resume()
    run.train(source.test_faces())


class LastRun(LandmarkRun):
    """The run of the command line. All else is done before it begins, as processes can form a group only once."""

    def train(self, test_faces: list[AnnotatedFace], evaluate_every: int = 5) -> Predictions | None:
        out = self.folder.parent
        torch.save({"steps": steps(), "with_nan": steps(with_nan=True)}, out / f"rank{distributed.rank()}.pt")
        paths = out / "faces", out / "config.toml"
        fit(*paths, out / "unbroken")
        with suppress(KeyboardInterrupt):
            fit(*paths, out / "broken", BrokenRun)
        fit(*paths, out / "broken")
        if distributed.rank() == 0:
            print(READY, flush=True)  # noqa: T201 # the test waits for it
        return super().train(test_faces, evaluate_every)


if __name__ == "__main__":
    landmark_run.LandmarkRun = LastRun  # type: ignore[misc]
    sys.exit(main())
