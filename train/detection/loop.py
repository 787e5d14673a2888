"""The detector's training loop: scenes in, two losses, one optimiser step; a checkpoint after every epoch."""

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
from train.detection.evaluate import Judged, choose_threshold, curve, figures, finder, judge_all, torch_maps
from train.detection.network import CentreDetector
from train.detection.photographs import Photograph, fingerprint, split_by_place
from train.detection.samples import SceneBatch, SceneBatches, SceneSamples, collate
from train.detection.targets import losses
from train.engine.distributed import local_device
from train.engine.loop import data_loader
from train.engine.optimisation import choose_precision, warmup_cosine
from train.engine.run import TrainingRun
from train.engine.train_state import TrainState
from train.errors import TrainingError
from train.runs.files import write_json
from train.runs.folder import REPORT_FILE, load_result
from train.runs.record import describe

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Step:
    """What a batch is trained with."""

    state: TrainState
    config: DetectorConfig
    device: torch.device

    def __call__(self, batch: SceneBatch) -> tuple[float, float]:
        """One step; returns the losses of centres and of sides. Raises TrainingError when they are not finite."""
        precision = choose_precision(self.config.precision, self.device)
        with torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            maps = self.state.model(batch.pictures.to(self.device))
        parts = losses(maps, batch.targets.to(self.device))
        loss = parts.centres + self.config.sides_weight * parts.sides
        if not torch.isfinite(loss):
            photographs = batch.indices.tolist()
            raise TrainingError(f"the loss is {loss.item()} in the batch of photographs {photographs}: lower the rate?")
        self.state.step(loss)
        return parts.centres.item(), parts.sides.item()


def train_one_epoch(step: Step, batches: Iterable[SceneBatch]) -> Row:
    """One pass over the batches; returns the mean losses."""
    step.state.model.train()
    centres, sides = zip(*(step(batch) for batch in batches), strict=True)
    return {
        "loss": sum(centres) / len(centres) + step.config.sides_weight * sum(sides) / len(sides),
        "loss_centres": sum(centres) / len(centres),
        "loss_sides": sum(sides) / len(sides),
    }


class DetectorRun(TrainingRun[DetectorConfig]):
    """A training run of a detector."""

    def __init__(
        self,
        config: DetectorConfig,
        names: Sequence[str],
        photographs: Sequence[Photograph],
        folder: Path,
        workers: int = 1,
    ) -> None:
        """`photographs`: those of the training split; every n-th of them is held out for choosing the threshold."""
        self.spec = DetectorSpec()
        self._names = names
        self._photographs = photographs
        training, self._held_out = split_by_place(photographs, config.held_out)
        self.device = local_device()
        torch.manual_seed(config.seed)
        self._sampler = SceneBatches(len(training), config)
        total, warmup = config.epochs * len(self._sampler), config.warmup_epochs * len(self._sampler)
        model = CentreDetector().to(self.device)
        state = TrainState.create(model, config, lambda step: warmup_cosine(step, warmup, total))
        super().__init__(config, state, folder)
        self._loader = data_loader(SceneSamples(training, config, self.spec, workers), self._sampler, collate, workers)

    def train(self, test: Sequence[Photograph], evaluate_every: int = 10) -> None:
        """Trains to the configured end from wherever the run stands, saving after every epoch."""
        step = Step(self.state, self.config, self.device)
        with self._open(self._describe()) as journal:
            while self.epoch < self.config.epochs:
                self._sampler.epoch = self.epoch
                label = f"epoch {self.epoch + 1}/{self.config.epochs}"
                row = {"epoch": self.epoch, "learning_rate": self.state.learning_rate}
                row |= train_one_epoch(step, tqdm(self._loader, desc=label, unit="batch", leave=False))
                self.epoch += 1
                if self.epoch % evaluate_every == 0 and self.epoch < self.config.epochs:
                    row |= self._figures(self._judge(self._held_out))
                self._record(journal, row)
        write_json(self.folder / REPORT_FILE, self._report(test))

    def _judge(self, photographs: Sequence[Photograph]) -> list[Judged]:
        return judge_all(finder(torch_maps(self.state.result), self.spec), photographs, progress=True)

    def _figures(self, judged: Sequence[Judged]) -> Row:
        return asdict(figures(judged, choose_threshold(judged, self.config.false_boxes)))

    def _report(self, test: Sequence[Photograph]) -> Row:
        """The threshold is chosen on what was held out, and used on the photographs that were never trained on."""
        kept = self._judge(self._held_out)
        threshold = choose_threshold(kept, self.config.false_boxes)
        tested = self._judge(test)
        return {
            "threshold": threshold,
            "held_out": asdict(figures(kept, threshold)),
            "test": asdict(figures(tested, threshold)),
            "recall_by_false_boxes": {"held_out": curve(kept), "test": curve(tested)},
        }

    def _describe(self) -> Row:
        photos = self._photographs
        return describe(self.config, self._names, fingerprint(photos), self._started_from, photographs=len(photos))


def load_detector(folder: Path) -> tuple[DetectorConfig, nn.Module]:
    """A run's configuration, and its network in evaluation mode. Raises TrainingError without a checkpoint."""
    return load_result(folder, DetectorConfig, lambda _: CentreDetector())
