"""A network in training: the step from a loss, the checkpoint from which training goes on, and the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from train.config import Recipe, validated
from train.engine import distributed
from train.engine.optimisation import averaged, parameter_groups
from train.errors import TrainingError
from train.runs.record import DESCRIPTION_FILE, Journal
from train.runs.weights import load_weights, read_file, write_json

CHECKPOINT_FILE: Final = "checkpoint.pt"

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True, eq=False)
class Learner:
    """A network and what changes it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None
    """The moving average of the weights, where there is one."""
    gradient_clip: float
    """Largest norm of a step's gradient."""

    @classmethod
    def create(cls, model: nn.Module, config: Recipe, factor: Callable[[int], float]) -> Learner:
        """AdamW at the configuration's rate times the `factor` of each step; weights averaged where it says so."""
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(model, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        average = averaged(model, config.ema) if config.ema else None
        return cls(model, optimizer, schedule, average, config.gradient_clip)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def result(self) -> nn.Module:
        """The network that training is for: of averaged weights, where they are averaged."""
        module: nn.Module = self.average.module if self.average else self.model
        return module

    def step(self, loss: Tensor) -> None:
        """One step down a loss's gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.model)

    def save(self, path: Path, config: Recipe, epoch: int, **facts: Any) -> None:
        """Writes a checkpoint, whole or not at all; `facts` are plain values to find again."""
        state = {
            "config": config.model_dump(mode="json"),
            "epoch": epoch,
            **facts,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        if self.average:
            state["averaged"] = self.average.module.state_dict()
        write_checkpoint(path, state)

    def resume(self, path: Path, config: Recipe) -> dict[str, Any]:
        """Goes back to a checkpoint, read by the first process for all; returns what it holds.

        Raises as `load_checkpoint` does, and TrainingError when it is of another configuration, or of a network that
        was made rather than trained.
        """
        state = distributed.from_first(lambda: load_checkpoint(path))
        if "optimizer" not in state:
            raise TrainingError(f"{path} holds a network but no training to go on with: start from it with --weights")
        if validated(type(config), state["config"], str(path)) != config:
            raise TrainingError(f"{path} was written under another configuration: choose another --out")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            self.average.module.load_state_dict(state["averaged"])
            self.average.n_averaged.fill_(self.schedule.last_epoch)  # one update per step
        return state


class TrainingRun(Generic[R]):
    """A run's folder and how far it has come: what the runs of all networks share."""

    def __init__(self, config: R, learner: Learner, folder: Path) -> None:
        self.config = config
        self.learner = learner
        self.folder = folder
        self.epoch = 0
        self._started_from: str | None = None

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    def begin(self, resume: bool, weights: Path | None) -> None:
        """Goes to where training is to begin. Raises as `resume` and `start_from` do, or rather than begin anew."""
        if resume:
            self.resume()
        elif self.checkpoint.exists():
            raise TrainingError(f"{self.checkpoint} exists: add --resume to go on from it, or choose another --out")
        elif weights:
            self.start_from(weights)

    def start_from(self, weights: Path) -> None:
        """Starts from published weights or another run's checkpoint, which run.json then states by its hash.

        Raises TrainingError when they are not of this network.
        """
        self._started_from = load_weights(self.learner.model, weights)

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        self.learner.save(self.checkpoint, self.config, self.epoch, started_from=self._started_from)

    def resume(self) -> None:
        """Continues from the folder's checkpoint. Raises TrainingError when it is of another configuration."""
        state = self.learner.resume(self.checkpoint, self.config)
        self.epoch, self._started_from = state["epoch"], state.get("started_from")

    def _open(self, description: dict[str, Any]) -> Journal:
        """The folder with what is known before the first epoch, and the run's journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "config.json", self.config.model_dump(mode="json"))
        write_json(self.folder / DESCRIPTION_FILE, description)
        return Journal(self.folder, self.epoch)

    def _record(self, journal: Journal, row: dict[str, Any]) -> None:
        """An epoch's end. The row comes first: stopped between the two, the run goes on by doing the epoch again."""
        journal.add(row)
        self.save()
        tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))


def check_free(folder: Path) -> None:
    """Raises TrainingError when the folder holds a run."""
    if (folder / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{folder / CHECKPOINT_FILE} exists: choose another --out")


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a run's checkpoint onto the CPU. Raises TrainingError when there is none, or something else."""
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint there; landmarks-train fit makes one")
    state = read_file(path)
    if not isinstance(state, dict) or not {"config", "epoch", "model"} <= state.keys():
        raise TrainingError(f"{path}: not the checkpoint of a run")
    return state


def load_result(folder: Path, kind: type[R], build: Callable[[R], nn.Module]) -> tuple[R, nn.Module]:
    """A run's configuration, and its network in evaluation mode: of averaged weights, where the run has them.

    Raises TrainingError without a checkpoint, ConfigError when it is one of another kind of run.
    """
    path = folder / CHECKPOINT_FILE
    state = load_checkpoint(path)
    config = validated(kind, state["config"], str(path))
    model = build(config)
    model.load_state_dict(state.get("averaged", state["model"]))
    return config, model.eval()
