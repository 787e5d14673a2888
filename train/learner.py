"""A network in training: the step from a loss, and the checkpoint from which training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from train import distributed
from train.config import Recipe
from train.errors import TrainingError
from train.optimisation import averaged, parameter_groups

CHECKPOINT_FILE: Final = "checkpoint.pt"

Configuration = TypeVar("Configuration", bound=BaseModel)


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

    def save(self, path: Path, config: BaseModel, epoch: int, **facts: Any) -> None:
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

    def resume(self, path: Path, config: BaseModel) -> dict[str, Any]:
        """Goes back to a checkpoint, read by the first process for all; returns what it holds.

        Raises TrainingError when there is none, or when it is of another configuration.
        """
        state = distributed.from_first(lambda: load_checkpoint(path))
        if type(config).model_validate(state["config"]) != config:
            raise TrainingError(f"{path} was written under another configuration: choose another --out")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            self.average.module.load_state_dict(state["averaged"])
            self.average.n_averaged.fill_(self.schedule.last_epoch)  # one update per step
        return state


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU. Raises TrainingError when there is none."""
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint there; landmarks-train fit makes one")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_result(
    folder: Path, kind: type[Configuration], build: Callable[[Configuration], nn.Module]
) -> tuple[Configuration, nn.Module]:
    """A run's configuration, and its network in evaluation mode: of averaged weights, where the run has them.

    Raises TrainingError without a checkpoint.
    """
    state = load_checkpoint(folder / CHECKPOINT_FILE)
    config = kind.model_validate(state["config"])
    model = build(config)
    model.load_state_dict(state.get("averaged", state["model"]))
    return config, model.eval()
