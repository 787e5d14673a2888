"""Calibrates a run: its errors on the faces of its training split, and the calibration in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from landmarks.codec import face_spread
from landmarks.layout import PointLayout
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.held_out import split_sets
from train.datasets.source import DataSource
from train.datasets.spread import evenly_spread
from train.errors import TrainingError
from train.evaluation.calibration import (
    Calibration,
    ErrorStats,
    calibrate,
    split_difficulty,
    uncalibrated,
)
from train.evaluation.plausibility import fit_plausibility
from train.evaluation.predict import check_points, predict
from train.evaluation.trained import load_run, open_run

PLAUSIBILITY_FACES: Final = 800
"""Faces of each data set that the plausibility is fitted to, at most: each is shown four times."""


def calibrate_run(
    folder: Path,
    sources: Sequence[DataSource],
    boxes: BoxKind | None = None,
    every: int | None = None,
    references: Sequence[Path] = (),
    limit: int | None = None,
    power: float | None = None,
    poses: Sequence[DataSource] = (),
) -> Calibration:
    """Calibrates a run on the faces that its data sets have for training, and writes the result into the run's folder.

    `boxes`: what crops are made about; None: as the run was trained. `limit`: faces of each set at most, so that a
    large set does not decide alone. `power`: of the faces' spreads; None: fitted. `every`: as in `split_sets`; None: as
    the run's own configuration says. `references`: runs that were trained on all faces, which measure the difficulty of
    the faces that this one held out. `poses`: further sets that only the plausibility of faces is fitted to, such as
    synthesized poses. Raises TrainingError when the set has other points than the network, or when a reference held
    faces out itself.
    """
    config = load_run(folder)[0]
    boxes, every = boxes or config.boxes, config.held_out if every is None else every
    for reference in references:
        if load_run(reference)[0].held_out:
            raise TrainingError(f"{reference} held faces out of training itself: it cannot measure how hard they are")
    layout = sources[0].layout
    split = [
        (evenly_spread(kept, limit), evenly_spread(out, limit))
        for kept, out in split_sets([source.train_faces() for source in sources], every)
    ]
    trained_on, out = ([face for part in parts for face in part] for parts in zip(*split, strict=True))
    faces = [*trained_on, *out]
    held_out = np.arange(len(faces)) >= len(trained_on)
    difficulties = [
        split_difficulty(error_stats(each, faces, layout, boxes)[0], held_out, layout) for each in references
    ]
    stats, floor = error_stats(folder, faces, layout, boxes)
    geometric_mean = float(np.exp(np.mean(np.log(difficulties or [1.0]))))
    calibration = calibrate(stats, held_out, floor, layout, geometric_mean, power)
    calibration.write(folder)
    every_set = [source.train_faces() for source in (*sources, *poses)]
    judged = [face for part in every_set for face in evenly_spread(part, min(PLAUSIBILITY_FACES, limit or len(part)))]
    calibration = replace(calibration, plausibility=fit_plausibility(open_run(folder), judged, layout, boxes))
    calibration.write(folder)
    return calibration


def error_stats(
    folder: Path, faces: Sequence[AnnotatedFace], layout: PointLayout, boxes: BoxKind
) -> tuple[ErrorStats, float]:
    """A run's errors on faces under its uncalibrated covariances, and the floor of these in crop pixels squared."""
    model = open_run(folder)
    check_points(model.codec, layout)
    codec = uncalibrated(model.codec)
    predictions = predict(
        model.network,
        faces,
        codec,
        model.crop_scale,
        [codec.topk],
        boxes,
        progress=True,
        layout=layout,
        correction=model.correction,
        label=f"calibrate {folder.name}",
    )
    covariances = predictions.decoded[codec.topk].covariances.astype(np.float64)
    stats = ErrorStats(predictions.distances(codec.topk), face_spread(covariances, codec.stride))
    return stats, codec.covariance_floor
