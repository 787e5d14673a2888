"""The state of training: a network, its optimiser and schedule, and the checkpoint that training continues from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from train.config import Recipe, validated
from train.engine.distributed import broadcast_from_rank0
from train.engine.optimisation import moving_average, parameter_groups
from train.errors import TrainingError
from train.runs.files import write_torch_file
from train.runs.folder import load_checkpoint


@dataclass(frozen=True, eq=False)
class TrainState:
    """A network and all that changes with every step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None
    """The moving average of the weights, if the configuration asks for one."""
    gradient_clip: float
    """Largest norm of a step's gradient; 0: no limit."""

    @classmethod
    def create(cls, model: nn.Module, config: Recipe, rate_factor: Callable[[int], float]) -> TrainState:
        """AdamW, whose learning rate is the configuration's times `rate_factor` of the step, counted from 0."""
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(model, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor)
        average = moving_average(model, config.ema) if config.ema else None
        return cls(model, optimizer, schedule, average, config.gradient_clip)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def result(self) -> nn.Module:
        """The network to evaluate and to export: with averaged weights, where they are averaged."""
        module: nn.Module = self.average.module if self.average else self.model
        return module

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of a scalar loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.model)

    def save(self, path: Path, config: Recipe, epoch: int, **facts: Any) -> None:
        """Writes a checkpoint after `epoch` finished epochs. `facts` are plain values that `resume` returns."""
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
        write_torch_file(path, state)

    def resume(self, path: Path, config: Recipe) -> dict[str, Any]:
        """Returns to the state of a checkpoint, read by the first process for all; returns what the file holds.

        Raises as `load_checkpoint` does, and TrainingError when it is of another configuration, or holds a network
        alone, as `fit-shape` and the imports write it.
        """
        checkpoint = broadcast_from_rank0(lambda: load_checkpoint(path))
        if "optimizer" not in checkpoint:
            raise TrainingError(f"{path} holds a network but no training to continue: start from it with --weights")
        if validated(type(config), checkpoint["config"], str(path)) != config:
            raise TrainingError(f"{path} was written under another configuration: choose another --out")
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.schedule.load_state_dict(checkpoint["schedule"])
        if self.average:
            self.average.module.load_state_dict(checkpoint["averaged"])
            self.average.n_averaged.fill_(self.schedule.last_epoch)  # one update per step
        return checkpoint
