"""The training loop: batches in, the loss, a step of the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from train.engine.distributed import gather_indices, weighted_mean
from train.engine.train_state import TrainState
from train.errors import TrainingError
from train.objectives import Objective
from train.samples.dataset import Batch


def train_one_epoch(
    state: TrainState,
    network: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    device: torch.device,
    precision: torch.dtype,
) -> float:
    """One pass over the batches; returns the mean loss of a batch.

    `network` is the state's model as this process calls it: see `train.engine.distributed.data_parallel`. A batch's
    loss is averaged, by the points' weights, over all points inside their heatmap, across all processes. Raises
    TrainingError when a loss is not finite.
    """
    network.train()
    losses = []
    for crops, targets, weights, indices in batches:
        targets, weights = targets.to(device), weights.to(device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = network(crops.to(device))
        counted = (objective.inside(targets) * weights).sum()
        loss = weighted_mean(objective.loss(logits, targets, weights), counted)
        if not torch.isfinite(loss):
            faces = gather_indices(indices)
            raise TrainingError(f"the loss is {loss.item()} in the batch of faces {faces}: lower `learning_rate`")
        state.step(loss)
        losses.append(loss.item())
    return sum(losses) / len(losses)


def data_loader(
    samples: Dataset[Any], batches: Sampler[Any], collate: Callable[..., Any], workers: int
) -> DataLoader[Any]:
    """The batches, prepared ahead by `workers` processes that stay from epoch to epoch; 0: by this process."""
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=_single_threaded,
    )


def _single_threaded(_worker: int) -> None:
    """OpenCV in a worker process must not take cores from the network."""
    cv2.setNumThreads(0)
