"""The parts of an optimiser step: parameter groups, learning rate, precision, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from train.config import Config, Recipe


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups with weight decay for matrices and kernels, and without for biases and normalisation."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def learning_rate_factor(config: Config, batches: int) -> Callable[[int], float]:
    """The factor on a configuration's learning rate by step, for epochs of `batches` steps."""
    warmup = config.warmup_epochs * batches
    if config.milestones:
        milestones = [epoch * batches for epoch in config.milestones]
        return lambda step: warmup_multistep(step, warmup, milestones)
    return lambda step: warmup_cosine(step, warmup, config.epochs * batches)


def warmup_multistep(step: int, warmup: float, milestones: Sequence[int]) -> float:
    """A factor that grows linearly over `warmup` steps, then falls to a tenth at each of the steps `milestones`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return float(0.1 ** sum(step >= milestone for milestone in milestones))


def warmup_cosine(step: int, warmup: float, total: int) -> float:
    """A factor that grows linearly over `warmup` steps, then falls to zero at step `total` by a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """bfloat16 where it is asked for or, on "auto", where the device computes it at full speed; else float32."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        precision = "bfloat16" if fast else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def precision_fact(config: Recipe, device: torch.device) -> dict[str, str]:
    """What a run's description says of the precision: which one `auto` became on this device."""
    return {"precision": str(choose_precision(config.precision, device)).removeprefix("torch.")}


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose weights are the exponential moving average of the model's.

    The update after t updates keeps min(decay, (1 + t) / (10 + t)) of the average, so that the first, random weights
    soon lose their influence. Running statistics of batch normalisation are averages already and are copied.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        t = int(updates)
        kept = min(decay, (1 + t) / (10 + t))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - kept)

    return AveragedModel(model, multi_avg_fn=update)
