"""The detector's training: mosaics in, two losses, one optimiser step; a checkpoint after every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from landmarks.detector import DetectorSpec
from train.detection.config import DetectorConfig
from train.detection.evaluate import (
    Matches,
    choose_threshold,
    make_detector,
    match_all,
    metrics_at,
    recall_by_false_boxes,
    torch_network,
)
from train.detection.images import BoxedImage, fingerprint, hold_out_every
from train.detection.network import CenterDetector
from train.detection.samples import MosaicBatch, MosaicBatches, MosaicSamples, collate
from train.detection.targets import losses
from train.engine.distributed import local_device
from train.engine.loop import data_loader
from train.engine.optimisation import choose_precision, precision_fact, warmup_cosine
from train.engine.run import TrainingRun
from train.engine.train_state import TrainState
from train.errors import TrainingError
from train.runs.files import write_json
from train.runs.folder import REPORT_FILE, load_result
from train.runs.record import describe

Row = dict[str, Any]
"""Figures by name."""


@dataclass(frozen=True, eq=False)
class Step:
    """What every batch is trained with."""

    state: TrainState
    config: DetectorConfig
    device: torch.device

    def __call__(self, batch: MosaicBatch) -> tuple[float, float]:
        """One step; returns the losses of centers and of sides. Raises TrainingError when they are not finite."""
        precision = choose_precision(self.config.precision, self.device)
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            maps = self.state.model(batch.images.to(self.device))
        parts = losses(maps, batch.targets.to(self.device))
        loss = parts.centers + self.config.sides_weight * parts.sides
        if not torch.isfinite(loss):
            images = batch.indices.tolist()
            raise TrainingError(f"the loss is {loss.item()} in the batch of images {images}: lower the learning_rate")
        self.state.step(loss)
        return parts.centers.item(), parts.sides.item()


def train_one_epoch(step: Step, batches: Iterable[MosaicBatch]) -> Row:
    """One pass over the batches; returns the mean losses, by the names that metrics.jsonl has for them."""
    step.state.model.train()
    centers, sides = zip(*(step(batch) for batch in batches), strict=True)
    return {
        "loss": sum(centers) / len(centers) + step.config.sides_weight * sum(sides) / len(sides),
        "loss_centres": sum(centers) / len(centers),
        "loss_sides": sum(sides) / len(sides),
    }


class DetectorRun(TrainingRun[DetectorConfig]):
    """A training run of a detector."""

    def __init__(
        self,
        config: DetectorConfig,
        names: Sequence[str],
        sets: Sequence[Sequence[BoxedImage]],
        folder: Path,
        workers: int = 1,
    ) -> None:
        """`names`, `sets`: of each data set its name and the images of its training split. Every n-th image of each is
        held out to choose the threshold on.
        """
        self.spec = DetectorSpec()
        self._names = names
        self._images = [image for images in sets for image in images]
        training, held_out = zip(*(hold_out_every(images, config.held_out) for images in sets), strict=True)
        self._held_out = [image for images in held_out for image in images]
        samples = [image for images in training for image in images]
        self.device = local_device()
        torch.manual_seed(config.seed)
        self._sampler = MosaicBatches(len(training[0]), len(samples) - len(training[0]), config)
        total, warmup = config.epochs * len(self._sampler), config.warmup_epochs * len(self._sampler)
        model = CenterDetector().to(self.device)
        state = TrainState.create(model, config, lambda step: warmup_cosine(step, warmup, total))
        super().__init__(config, state, folder)
        self._loader = data_loader(MosaicSamples(samples, config, self.spec, workers), self._sampler, collate, workers)

    def train(self, test: Sequence[BoxedImage], evaluate_every: int = 10) -> None:
        """Trains from the run's epoch to the configured end, saves after every epoch, and writes the final report."""
        step = Step(self.state, self.config, self.device)
        with self._open(self._describe()) as metrics:
            while self.epoch < self.config.epochs:
                self._sampler.epoch = self.epoch
                label = f"epoch {self.epoch + 1}/{self.config.epochs}"
                row = {"epoch": self.epoch, "learning_rate": self.state.learning_rate}
                row |= train_one_epoch(step, tqdm(self._loader, desc=label, unit="batch", leave=False))
                self.epoch += 1
                if self.epoch % evaluate_every == 0 and self.epoch < self.config.epochs:
                    row |= self._metrics(self._match(self._held_out))
                self._record(metrics, row)
        write_json(self.folder / REPORT_FILE, self._report(test))

    def _match(self, images: Sequence[BoxedImage]) -> list[Matches]:
        return match_all(make_detector(torch_network(self.state.result), self.spec), images, progress=True)

    def _metrics(self, matches: Sequence[Matches]) -> Row:
        return asdict(metrics_at(matches, choose_threshold(matches, self.config.false_boxes)))

    def _report(self, test: Sequence[BoxedImage]) -> Row:
        """The threshold is chosen on the held-out images, and applied to the images that were never trained on."""
        held_out = self._match(self._held_out)
        threshold = choose_threshold(held_out, self.config.false_boxes)
        tested = self._match(test)
        return {
            "threshold": threshold,
            "held_out": asdict(metrics_at(held_out, threshold)),
            "test": asdict(metrics_at(tested, threshold)),
            "recall_by_false_boxes": {
                "held_out": recall_by_false_boxes(held_out),
                "test": recall_by_false_boxes(tested),
            },
        }

    def _describe(self) -> Row:
        images = self._images
        facts = {"photographs": len(images)} | precision_fact(self.config, self.device)
        return describe(self.config, self._names, fingerprint(images), self._started_from, **facts)


def load_detector(folder: Path) -> tuple[DetectorConfig, nn.Module]:
    """A run's configuration, and its network in evaluation mode. Raises TrainingError without a checkpoint."""
    return load_result(folder, DetectorConfig, lambda _: CenterDetector())
