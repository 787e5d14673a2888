"""The training loop: batches in, cross-entropy, one optimiser step; a checkpoint after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from train.backbones import build
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.training_data import TrainingData
from train.engine import distributed
from train.engine.learner import Learner, TrainingRun
from train.engine.optimisation import choose_precision, rate_factor
from train.errors import DataError, TrainingError
from train.evaluation.predict import Predictions, predict, summary, torch_network
from train.objectives import Objective, correction, objective_of
from train.runs.record import REPORT_FILE, describe
from train.runs.weights import write_json
from train.samples.dataset import Batch, EpochBatches, TrainingSamples, collate
from train.samples.image_cache import ImageCache


def train_one_epoch(
    learner: Learner,
    network: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    device: torch.device,
    precision: torch.dtype,
) -> float:
    """One pass over the batches; returns the mean loss. `network`: the learner's model, as this process runs it.

    Raises TrainingError when a loss is not finite.
    """
    network.train()
    losses = []
    for crops, targets, indices in batches:
        targets = targets.to(device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = network(crops.to(device))
        loss = distributed.weighted_mean(objective.loss(logits, targets), objective.inside(targets).sum())
        if not torch.isfinite(loss):
            faces = distributed.whole(indices)
            raise TrainingError(f"the loss is {loss.item()} in the batch of faces {faces}: lower the rate?")
        learner.step(loss)
        losses.append(loss.item())
    return sum(losses) / len(losses)


class Run(TrainingRun[Config]):
    """A training run of a landmark network.

    Of several processes all train, and the first alone evaluates and writes.
    """

    def __init__(self, config: Config, data: TrainingData, folder: Path, workers: int = 1) -> None:
        """Raises ConfigError when the batches cannot be shared among the processes."""
        self._data = data
        self._sampler = EpochBatches(
            len(data.faces), config, distributed.rank(), distributed.processes(), len(data.extra_faces)
        )
        self.device = distributed.device()
        torch.manual_seed(config.seed)
        model = build(config.name, data.layout.points, config.shape_refinement)
        model = distributed.synchronised(model, self.device).to(self.device)
        self.objective = objective_of(config)
        super().__init__(config, Learner.create(model, config, rate_factor(config, len(self._sampler))), folder)
        self._photos = ImageCache()
        samples = TrainingSamples(data.every_face, config, data.layout, workers)
        self._loader = loader(samples, self._sampler, collate, workers)

    def train(self, test_faces: list[AnnotatedFace], evaluate_every: int = 5) -> Predictions | None:
        """Trains to the configured end from wherever the run stands, saving after every epoch.

        Returns what the finished network finds in the test faces; None in all processes but the first.
        """
        model = distributed.parallel(self.learner.model)
        with self._open(self._describe()) if distributed.rank() == 0 else nullcontext() as journal:
            while self.epoch < self.config.epochs:
                row = self._train_epoch(model)
                self.epoch += 1
                if journal:
                    if self.epoch % evaluate_every == 0 or self.epoch == self.config.epochs:
                        row |= self._evaluate(test_faces, row["input_size"])
                    self._record(journal, row)
        return self._finish(test_faces) if journal else None

    def _describe(self) -> dict[str, Any]:
        data = self._data
        return describe(self.config, data.names, data.fingerprint, self._started_from, **data.facts)

    def _train_epoch(self, model: nn.Module) -> dict[str, Any]:
        """One epoch's row of metrics, without an evaluation."""
        self._sampler.epoch = self.epoch
        rate = self.learner.rate
        precision = choose_precision(self.config.precision, self.device)
        loss = train_one_epoch(self.learner, model, self.objective, self._with_progress(), self.device, precision)
        size = self.config.stage_at(self.epoch).input_size
        return {"epoch": self.epoch, "input_size": size, "learning_rate": rate, "loss": loss}

    def _evaluate(self, test_faces: list[AnnotatedFace], size: int) -> dict[str, Any]:
        topk = self.config.topk
        return asdict(self._predict(test_faces, size, [topk]).report(topk))

    def _finish(self, test_faces: list[AnnotatedFace]) -> Predictions:
        """Writes the final figures."""
        topk = self.config.topk
        ks = sorted({1, topk})
        predictions = self._predict(test_faces, self.config.stages[-1].input_size, ks)
        write_json(self.folder / REPORT_FILE, summary(predictions, ks, topk))
        return predictions

    def _predict(self, faces: list[AnnotatedFace], size: int, ks: list[int]) -> Predictions:
        layout = self._data.layout
        codec, network = self.config.codec(size, layout.points), torch_network(self.learner.result, self.objective)
        scale, shift = self.config.crop_scale, correction(self.objective.quantizer)
        return predict(network, faces, codec, scale, ks, photos=self._photos, layout=layout, correction=shift)

    def _with_progress(self) -> Iterator[Batch]:
        label = f"epoch {self.epoch + 1}/{self.config.epochs}"
        try:
            yield from tqdm(self._loader, desc=label, unit="batch", leave=False, disable=distributed.rank() != 0)
        except DataError as error:
            # a worker process passes an error on with its own traceback before the message
            raise DataError(str(error).strip().rpartition("DataError: ")[2]) from None


def loader(samples: Dataset[Any], batches: Sampler[Any], collate: Callable[..., Any], workers: int) -> DataLoader[Any]:
    """The batches, made ahead by so many processes, which stay from epoch to epoch; 0: by this one."""
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=_single_threaded,
    )


def _single_threaded(_worker: int) -> None:
    """A worker's OpenCV must not take the cores from the network."""
    cv2.setNumThreads(0)
