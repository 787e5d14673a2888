"""Several processes that train as one: same samples, same losses, same weights, up to rounding.

`torchrun` starts the processes. Each computes its slice of every batch; the loss, the statistics of batch
normalisation and the gradients are those of the whole batch. In a single process nothing here does anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.errors import ConfigError, TrainingError

T = TypeVar("T")

PATIENCE: Final = timedelta(hours=2)
"""How long processes wait for one another: the first evaluates alone. One that has died is noticed at once."""


# ---------------------------------------------------------------- who we are


@contextmanager
def joined() -> Iterator[None]:
    """Within it, this process is one of those that torchrun started, if it did start several.

    What the processes of a machine meet alike, an interrupt or an unusable configuration, its first one reports.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    here = device()
    if here.type == "cuda":
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
        dist.barrier()
    except (KeyboardInterrupt, ConfigError, TrainingError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt comes twice: from the terminal and from torchrun
        if os.environ.get("LOCAL_RANK", "0") != "0":
            raise SystemExit(1) from None
        raise
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process. The first, 0, writes the files and evaluates."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def device() -> torch.device:
    """Where this process computes: its own GPU of its machine, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, in all of them: it alone need see the run's folder."""
    made = [make()] if rank() == 0 else [None]
    if processes() > 1:
        dist.broadcast_object_list(made)
    return cast(T, made[0])


# ---------------------------------------------------------------- one batch, in slices


class _Sum(torch.autograd.Function):
    """The sum over the processes; what comes back through it is summed as well."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(None, gradients[0])


def total(values: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape; differentiable."""
    if processes() == 1:
        return values
    summed: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return summed


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """The mean of all processes' scalars, each with its own weight; differentiable, and the same in all of them."""
    if processes() == 1:
        return value
    return total(value * weight) / total(weight).clamp(min=1)


def whole(indices: Tensor) -> list[int]:
    """The indices of the whole batch, from every process's slice of them."""
    if processes() == 1:
        return [int(index) for index in indices]
    slices: list[list[int]] = [[] for _ in range(processes())]
    dist.all_gather_object(slices, indices.tolist())
    return [index for part in slices for index in part]


# ---------------------------------------------------------------- the network


def synchronised(model: nn.Module, here: torch.device) -> nn.Module:
    """The model with batch normalisation over whole batches; its parameters keep their names."""
    if processes() == 1:
        return model
    if here.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, WholeBatchNorm(child))
    return model


def parallel(model: nn.Module) -> nn.Module:
    """The model as it is to be called in training: its gradients become those of the whole batch."""
    if processes() == 1:
        return model
    # buffers agree already: batch normalisation is synchronised
    return DistributedDataParallel(model, forward_sync_buffers=False)


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over equal slices of a batch, where nn.SyncBatchNorm refuses to work: on a CPU."""

    def __init__(self, plain: nn.BatchNorm2d) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum)
        self.load_state_dict(plain.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        mean = total(wide.mean((0, 2, 3))) / processes()
        centred = wide - mean[:, None, None]
        variance = total(centred.square().mean((0, 2, 3))) / processes()
        self._remember(mean.detach(), variance.detach(), processes() * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, values: int) -> None:
        """Running statistics as nn.BatchNorm2d keeps them: with the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * values / (values - 1), self.momentum)
        self.num_batches_tracked += 1
