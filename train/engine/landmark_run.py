"""A training run of a landmark network: epochs, evaluations between them, and the final figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from landmarks.size import Size
from train.backbones import build
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.training_data import TrainingData
from train.engine.distributed import data_parallel, local_device, rank, synchronize_batchnorm, world_size
from train.engine.loop import data_loader, train_one_epoch
from train.engine.optimisation import choose_precision, learning_rate_factor, precision_fact
from train.engine.run import TrainingRun
from train.engine.train_state import TrainState
from train.errors import ConfigError, DataError
from train.evaluation.predict import predict, torch_network
from train.evaluation.predictions import Predictions
from train.evaluation.summary import summary
from train.objectives import correction, objective_of
from train.runs.files import write_json
from train.runs.folder import REPORT_FILE
from train.runs.record import describe
from train.samples.dataset import Batch, EpochBatches, TrainingSamples, collate
from train.samples.image_cache import ImageCache


class LandmarkRun(TrainingRun[Config]):
    """A training run of a landmark network.

    Of several processes all train, and the first alone evaluates and writes.
    """

    def __init__(self, config: Config, data: TrainingData, folder: Path, workers: int = 1) -> None:
        """`workers`: processes that prepare samples. Raises ConfigError when batches cannot be split evenly, and for a
        layer that is not trained.
        """
        if config.visibility:
            raise ConfigError("visibility: this layer is not trained; add it to the finished run by fit-visibility")
        self._data = data
        self._sampler = EpochBatches(len(data.faces), config, rank(), world_size(), [len(each) for each in data.extra])
        self.device = local_device()
        torch.manual_seed(config.seed)
        model = build(config.name, data.layout.points, config.shape_refinement)
        model = synchronize_batchnorm(model, self.device).to(self.device)
        self.objective = objective_of(config)
        state = TrainState.create(model, config, learning_rate_factor(config, len(self._sampler)))
        super().__init__(config, state, folder)
        self._images = ImageCache()
        samples = TrainingSamples(data.every_face, config, data.layout, workers)
        self._loader = data_loader(samples, self._sampler, collate, workers)

    def train(self, test_faces: list[AnnotatedFace], evaluate_every: int = 5) -> Predictions | None:
        """Trains from wherever the run is to the configured end, saving after every epoch.

        Returns the finished network's predictions of the test faces; None in all processes but the first.
        """
        model = data_parallel(self.state.model)
        with self._open(self._describe()) if rank() == 0 else nullcontext() as metrics:
            while self.epoch < self.config.epochs:
                row = self._train_epoch(model)
                self.epoch += 1
                if metrics:
                    if self.epoch % evaluate_every == 0 or self.epoch == self.config.epochs:
                        row |= self._evaluate(test_faces, Size.parse(row["input_size"]))
                    self._record(metrics, row)
        return self._finish(test_faces) if metrics else None

    def _describe(self) -> dict[str, Any]:
        data = self._data
        facts = data.facts(self.config) | precision_fact(self.config, self.device)
        return describe(self.config, data.names, data.fingerprint, self._started_from, **facts)

    def _train_epoch(self, model: nn.Module) -> dict[str, Any]:
        """Trains one epoch; returns its row of metrics, without an evaluation."""
        self._sampler.epoch = self.epoch
        rate = self.state.learning_rate
        precision = choose_precision(self.config.precision, self.device)
        loss = train_one_epoch(self.state, model, self.objective, self._batches(), self.device, precision)
        size = self.config.stage_at(self.epoch).input_size
        return {"epoch": self.epoch, "input_size": size.plain, "learning_rate": rate, "loss": loss}

    def _batches(self) -> Iterator[Batch]:
        """The batches of the epoch, with a progress bar in the first process."""
        label = f"epoch {self.epoch + 1}/{self.config.epochs}"
        try:
            yield from tqdm(self._loader, desc=label, unit="batch", leave=False, disable=rank() != 0)
        except DataError as error:
            # the error of a worker process has that process's traceback before its message
            raise DataError(str(error).strip().rpartition("DataError: ")[2]) from None

    def _evaluate(self, test_faces: list[AnnotatedFace], size: Size) -> dict[str, Any]:
        """The figures of the network as it is, at a crop size."""
        topk = self.config.topk
        return asdict(self._predict(test_faces, size, [topk]).report(topk))

    def _finish(self, test_faces: list[AnnotatedFace]) -> Predictions:
        """Writes the final figures."""
        topk = self.config.topk
        ks = sorted({1, topk})
        predictions = self._predict(test_faces, self.config.stages[-1].input_size, ks)
        write_json(self.folder / REPORT_FILE, summary(predictions, ks, topk))
        return predictions

    def _predict(self, faces: list[AnnotatedFace], size: Size, ks: list[int]) -> Predictions:
        layout = self._data.layout
        config, network = self.config, torch_network(self.state.result, self.objective)
        return predict(
            network,
            faces,
            config.codec(size, layout.points),
            config.crop_scale,
            ks,
            config.boxes,
            self._images,
            layout=layout,
            correction=correction(self.objective.quantizer),
            flip="points" if config.flip_averaging else None,
        )
