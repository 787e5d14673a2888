"""The training loop: batches in, cross-entropy, one optimiser step; a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from train.config import Config
from train.evaluate import predict, torch_network
from train.faces import Face
from train.model import build
from train.samples import OUTSIDE, Batch, EpochBatches, PhotoCache, TrainingSamples, collate


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


def heatmap_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the cells of every map, averaged over the points that lie on their map.

    logits float [N, points, cells, cells], targets int64 [N, points] flat cells or OUTSIDE. The paper's eq. (16).
    """
    return F.cross_entropy(logits.float().flatten(2).flatten(0, 1), targets.flatten(), ignore_index=OUTSIDE)


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    gradient_clip: float,
    device: torch.device,
    precision: torch.dtype,
) -> float:
    """One pass over the batches; returns the mean loss. Raises TrainingError when a loss is not finite."""
    model.train()
    losses = []
    for crops, targets, indices in batches:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(crops.to(device))
        loss = heatmap_loss(logits, targets.to(device))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} in the batch of faces {indices.tolist()}: lower the rate?")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


class Run:
    """A training run and its folder: configuration, checkpoint and metrics."""

    def __init__(self, config: Config, faces: list[Face], folder: Path, workers: int = 1) -> None:
        self.config = config
        self.folder = folder
        self.epoch = 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        self.model = build(config.name).to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self._sampler = EpochBatches(len(faces), config)
        total, warmup = config.epochs * len(self._sampler), config.warmup_epochs * len(self._sampler)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: warmup_then_cosine(step, warmup, total)
        )
        self._loader: DataLoader[Any] = DataLoader(
            TrainingSamples(faces, config),
            batch_sampler=self._sampler,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            worker_init_fn=_single_threaded,
        )

    def train(self, test_faces: list[Face], evaluate_every: int = 5) -> None:
        """Trains to the configured end from wherever the run stands, saving after every epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(self.config.model_dump_json(indent=2) + "\n")
        precision = choose_precision(self.config.precision, self.device)
        photos = PhotoCache()
        while self.epoch < self.config.epochs:
            self._sampler.epoch = self.epoch
            loss = train_one_epoch(
                self.model,
                self._with_progress(),
                self.optimizer,
                self.schedule,
                self.config.gradient_clip,
                self.device,
                precision,
            )
            size = self.config.stage_at(self.epoch).input_size
            row: dict[str, Any] = {"epoch": self.epoch, "input_size": size, "loss": loss}
            self.epoch += 1
            if self.epoch % evaluate_every == 0 or self.epoch == self.config.epochs:
                codec = self.config.codec(size)
                network = torch_network(self.model)
                predictions = predict(network, test_faces, codec, self.config.crop_scale, [codec.topk], photos=photos)
                row |= asdict(predictions.report(codec.topk))
            self.save()
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))

    def _with_progress(self) -> Iterator[Batch]:
        label = f"epoch {self.epoch + 1}/{self.config.epochs}"
        yield from tqdm(self._loader, desc=label, unit="batch", leave=False)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        state = {
            "config": self.config.model_dump(mode="json"),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "commit": git_commit(),
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)

    def resume(self) -> None:
        """Continues from the folder's checkpoint. Raises TrainingError when it is of another configuration."""
        state = load_checkpoint(self.checkpoint)
        if state["config"] != self.config.model_dump(mode="json"):
            raise TrainingError(f"{self.checkpoint} was written under another configuration: choose another --out")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch = state["epoch"]


def _single_threaded(_worker: int) -> None:
    """A worker's OpenCV must not take the cores from the network."""
    cv2.setNumThreads(0)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU. Raises TrainingError when there is none."""
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint there; landmarks-train fit makes one")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for the matrices and kernels alone; biases and normalisation go free."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def warmup_then_cosine(step: int, warmup: float, total: int) -> float:
    """Factor on the learning rate: up linearly over `warmup` steps, then down to zero at `total` by a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """bfloat16 where it is asked for or, on "auto", where the device computes it at full speed."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        precision = "bfloat16" if fast else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def git_commit() -> str:
    """The checkout's commit, with "-dirty" where tracked files differ; "unknown" outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
