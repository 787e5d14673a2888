"""The training loop: batches in, cross-entropy, one optimiser step; a checkpoint after every epoch."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from train.backbones import build
from train.checkpoints import load_weights
from train.codecs import Objective, objective_of
from train.config import Config
from train.datasets.face import Face
from train.errors import TrainingError
from train.evaluate import Predictions, predict, summary, torch_network
from train.layouts import WFLW98, PointLayout
from train.samples import Batch, EpochBatches, PhotoCache, TrainingSamples, collate

CHECKPOINT_FILE = "checkpoint.pt"
DESCRIPTION_FILE = "run.json"
"""Name of the file that says what a run was made from."""
REPORT_FILE = "report.json"
"""Name of the final figures within a run's folder; it is there once the run is finished."""


def train_one_epoch(
    model: nn.Module,
    objective: Objective,
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
        loss = objective.loss(logits, targets.to(device))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} in the batch of faces {indices.tolist()}: lower the rate?")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Faces to train on and where they come from."""

    names: tuple[str, ...]
    """Data sets by name, as a model's metadata reports them."""
    faces: list[Face]
    layout: PointLayout = WFLW98
    """The layout of the faces' points."""

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` over every photograph's name, points and box, in order."""
        digest = hashlib.sha256()
        for face in self.faces:
            digest.update(face.image.name.encode() + face.points.tobytes() + face.box.tobytes())
        return f"sha256:{digest.hexdigest()}"


def describe(config: Config, data: TrainingData, started_from: str | None = None) -> dict[str, Any]:
    """What a run was made from: identity, command, commit, data and versions. The configuration lies beside it."""
    commit, fingerprint = git_commit(), data.fingerprint
    identity = hashlib.sha256(f"{config.model_dump_json()} {commit} {fingerprint}".encode()).hexdigest()
    return {
        "run_id": f"{config.name}-{identity[:12]}",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit,
        "seed": config.seed,
        "started_from": started_from,
        "data": list(data.names),
        "faces": len(data.faces),
        "layout": data.layout.name,
        "data_fingerprint": fingerprint,
        "torch": torch.__version__,
    }


class Run:
    """A training run and its folder: configuration, checkpoint and metrics."""

    def __init__(self, config: Config, data: TrainingData, folder: Path, workers: int = 1) -> None:
        self.config = config
        self._data = data
        self.folder = folder
        self.epoch = 0
        self._started_from: str | None = None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        model = build(config.name, data.layout.points).to(self.device)
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = objective_of(config)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self._sampler = EpochBatches(len(data.faces), config)
        total, warmup = config.epochs * len(self._sampler), config.warmup_epochs * len(self._sampler)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: warmup_then_cosine(step, warmup, total)
        )
        self._loader: DataLoader[Any] = DataLoader(
            TrainingSamples(data.faces, config, data.layout),
            batch_sampler=self._sampler,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            worker_init_fn=_single_threaded,
        )

    def start_from(self, weights: Path) -> None:
        """Starts from published weights or another run's checkpoint, which run.json then states by its hash.

        Raises TrainingError when they are not of this network.
        """
        load_weights(self.model, weights)
        self._started_from = f"{weights.name} sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"

    def train(self, test_faces: list[Face], evaluate_every: int = 5) -> None:
        """Trains to the configured end from wherever the run stands, saving after every epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write("config.json", self.config.model_dump(mode="json"))
        precision = choose_precision(self.config.precision, self.device)
        photos = PhotoCache()
        self._write(DESCRIPTION_FILE, describe(self.config, self._data, self._started_from))
        while self.epoch < self.config.epochs:
            self._sampler.epoch = self.epoch
            loss = train_one_epoch(
                self.model,
                self.objective,
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
                topk = self.config.topk
                row |= asdict(self._predict(test_faces, size, [topk], photos).report(topk))
            self.save()
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            tqdm.write("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
        self._write(REPORT_FILE, self._final_report(test_faces, photos))

    def _final_report(self, test_faces: list[Face], photos: PhotoCache) -> dict[str, Any]:
        topk = self.config.topk
        ks = sorted({1, topk})
        return summary(self._predict(test_faces, self.config.stages[-1].input_size, ks, photos), ks, topk)

    def _predict(self, faces: list[Face], size: int, ks: list[int], photos: PhotoCache) -> Predictions:
        layout = self._data.layout
        codec, network = self.config.codec(size, layout.points), torch_network(self.model, self.objective)
        return predict(network, faces, codec, self.config.crop_scale, ks, photos=photos, layout=layout)

    def _write(self, name: str, values: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(values, indent=2) + "\n")

    def _with_progress(self) -> Iterator[Batch]:
        label = f"epoch {self.epoch + 1}/{self.config.epochs}"
        yield from tqdm(self._loader, desc=label, unit="batch", leave=False)

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        state = {
            "config": self.config.model_dump(mode="json"),
            "epoch": self.epoch,
            "started_from": self._started_from,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def resume(self) -> None:
        """Continues from the folder's checkpoint. Raises TrainingError when it is of another configuration."""
        state = load_checkpoint(self.checkpoint)
        if Config.model_validate(state["config"]) != self.config:
            raise TrainingError(f"{self.checkpoint} was written under another configuration: choose another --out")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch = state["epoch"]
        self._started_from = state.get("started_from")


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
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 # fixed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
