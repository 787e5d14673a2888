"""Several processes that train as one: the same samples, losses and weights as in a single process, up to rounding.

`torchrun` starts the processes. Each computes its slice of every batch; the loss, the statistics of batch
normalisation and the gradients are those of the complete batch. In a single process nothing here has any effect.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from train.errors import ConfigError, TrainingError

T = TypeVar("T")

TIMEOUT: Final = timedelta(hours=2)
"""How long processes wait for one another: the first evaluates alone. One that has died is noticed at once."""


# ---------------------------------------------------------------- the processes


@contextmanager
def process_group() -> Iterator[None]:
    """A context in which the processes that torchrun started, if it started several, can communicate.

    An interrupt or an unusable configuration reaches all processes of a machine; only its first one raises it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    if rank() != 0:
        logging.getLogger("train").setLevel(logging.ERROR)  # all read the same data, the first warns
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
    """The number of this process. Process 0 writes the files and evaluates."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_device() -> torch.device:
    """The device of this process: a GPU of its own, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def broadcast_from_rank0(make: Callable[[], T]) -> T:
    """Calls `make` in process 0 and returns its result in all of them: no other process needs the run's folder."""
    made = [make()] if rank() == 0 else [None]
    if world_size() > 1:
        dist.broadcast_object_list(made)
    return cast(T, made[0])


# ---------------------------------------------------------------- one batch, in slices


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape; differentiable."""
    if world_size() == 1:
        return values
    return cast(Tensor, all_reduce(values))  # type: ignore[no-untyped-call]


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """The mean of all processes' scalars, each with its own weight; differentiable, and the same in all of them."""
    if world_size() == 1:
        return value
    return all_reduce_sum(value * weight) / all_reduce_sum(weight).clamp(min=1e-6)


def gather_indices(indices: Tensor) -> list[int]:
    """The indices of the complete batch, from every process's slice [N] of them."""
    if world_size() == 1:
        return [int(index) for index in indices]
    slices: list[list[int]] = [[] for _ in range(world_size())]
    dist.all_gather_object(slices, indices.tolist())
    return [index for part in slices for index in part]


# ---------------------------------------------------------------- the network


def synchronize_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch normalisation over complete batches; its parameters keep their names."""
    if world_size() == 1:
        return model
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, CpuSyncBatchNorm(child))
    return model


def data_parallel(model: nn.Module) -> nn.Module:
    """The model as training calls it: its gradients become those of the complete batch."""
    if world_size() == 1:
        return model
    # buffers agree already: batch normalisation is synchronised
    return DistributedDataParallel(model, forward_sync_buffers=False)


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over equal slices of a batch. nn.SyncBatchNorm does the same, but on GPUs alone."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        mean = all_reduce_sum(wide.mean((0, 2, 3))) / world_size()
        centred = wide - mean[:, None, None]
        variance = all_reduce_sum(centred.square().mean((0, 2, 3))) / world_size()
        self._update_statistics(mean.detach(), variance.detach(), world_size() * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor, values: int) -> None:
        """Running statistics as nn.BatchNorm2d keeps them: with the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * values / (values - 1), self.momentum)
        self.num_batches_tracked += 1
