"""Fits the layer of a trained network that states which points are seen (`train.backbones.refinement.Visibility`).

What is seen is known of synthesized poses, which hide a part of the head, and of what augmentation pastes over a face.
Nobody has labelled the faces of photographs: those that look about straight at the camera count as seen in full.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from landmarks.crop import transform_points
from landmarks.layout import PointLayout
from train.backbones.refinement import Refined, RefinedNetwork, Visibility
from train.config import Augment, Config
from train.datasets.face import AnnotatedFace
from train.datasets.spread import evenly_spread
from train.datasets.training_data import TrainingData
from train.datasets.visible import labels_of
from train.errors import TrainingError
from train.evaluation.metrics import VisibilityFigures, visibility_figures
from train.evaluation.predict import BATCH
from train.evaluation.trained import load_run
from train.runs.derived import write_derived_run
from train.runs.folder import CALIBRATION_FILE, REPORT_FILE, read_report, require_no_run
from train.samples.augment import at_pixels, augmented_crop
from train.samples.image_cache import ImageCache
from train.shape_refinement import mirrored

RIDGE: Final = 30.0
"""Weight of the squared coefficients of standardized features beside the log-likelihood of all samples."""
MIN_RIDGE: Final = 1e-3
"""The same of the constant, so that points that are seen in every sample have one."""
MIN_DEVIATION: Final = 1e-6
"""Added to the standard deviation of each feature, so that those that do not vary can be divided by it."""
ITERATIONS: Final = 40
"""Of the optimiser, at most; the figures on other faces do not change beyond 20."""

WHOLE: Final = Augment(rotation=15, scale=0.1, shift=6, brightness=0.1, contrast=0.1, saturation=0.1, erasing=0)
OCCLUDED: Final = WHOLE.model_copy(update={"occlusion": 1.0, "erasing": 0.3})
"""Each face is shown once as it is and once with something pasted over it. The crops vary as those that are served do,
much less than in training: what widens the maps of training samples, such as blur, would explain what occlusion does.
"""


class Samples(NamedTuple):
    """What the layer is fitted to; mirrored samples as well as others."""

    features: Tensor
    """float32 [N, 3 P] of `ShapeRefinement.features`."""
    seen: Tensor
    """float32 [N, P] 1 where a point is seen, 0 where it is hidden."""
    weights: Tensor
    """float32 [N, P] 0 where nobody knows, or the point lies outside the crop; otherwise 1."""


def fit_visibility(folder: Path, data: TrainingData, out: Path) -> VisibilityFigures:
    """Turns a finished run into another one in the folder `out`: its network with the layer fitted to `data`.

    Points, covariances and calibration stay as they are. Returns the figures of what it was fitted to. Raises
    TrainingError when `out` holds a run, when the run has the layer or lacks the shape refinement, and when no point is
    known to be hidden.
    """
    config, network = load_run(folder)
    read_report(folder)  # raises unless the run is finished
    if config.visibility:
        raise TrainingError(f"{folder} has the layer already: give the run that it was derived from")
    if not isinstance(network, RefinedNetwork):
        raise TrainingError(f"{folder} has no shape refinement, which the layer builds on: run fit-shape first")
    require_no_run(out)
    network.visibility = Visibility(data.layout.points)
    samples = measure(network, config, data.every_face, data.layout)
    if not (samples.weights * (1 - samples.seen)).any():
        raise TrainingError("no point of these faces is known to be hidden: add a set of synthesize-poses")
    fit(network, samples)
    write_derived_run(folder, out, config.model_copy(update={"visibility": True}), network.eval(), data)
    if (folder / CALIBRATION_FILE).is_file():
        shutil.copyfile(folder / CALIBRATION_FILE, out / CALIBRATION_FILE)
    shutil.copyfile(folder / REPORT_FILE, out / REPORT_FILE)
    return figures(network, samples)


def evenly(data: TrainingData, limit: int | None) -> TrainingData:
    """At most `limit` faces of each data set, evenly spread."""
    extra = [evenly_spread(each, limit) for each in data.extra]
    return replace(data, faces=evenly_spread(data.faces, limit), extra=extra)


@torch.no_grad()
def figures(network: RefinedNetwork, samples: Samples) -> VisibilityFigures:
    """How well the layer states what it was fitted to."""
    assert network.visibility is not None
    known = samples.weights > 0
    stated = network.visibility(network.tilt.with_pose(samples.features))[known].double().numpy()
    found = visibility_figures(stated, samples.seen[known].numpy() > 0)
    assert found is not None
    return found


# ---------------------------------------------------------------- samples


@torch.no_grad()
def measure(network: RefinedNetwork, config: Config, faces: Sequence[AnnotatedFace], layout: PointLayout) -> Samples:
    """Shows the network every face as it is and with something pasted over it, and each sample mirrored as well."""
    features, seen, weights = [], [], []
    with tqdm(total=2 * len(faces), desc="fit-visibility", unit="crop", leave=False) as bar:
        for crops, labels, known in batches(faces, config, layout):
            refined: Refined = network.tilt(network.network(torch.from_numpy(crops)))
            features.append(refined.features[:, : 3 * layout.points])
            seen.append(torch.from_numpy(labels))
            weights.append(torch.from_numpy(known))
            bar.update(len(crops))
    measured = Samples(torch.cat(features), torch.cat(seen).float(), torch.cat(weights).float())
    return with_mirrored(measured, layout.flip)


def batches(
    faces: Sequence[AnnotatedFace], config: Config, layout: PointLayout
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Crops [N, S, S, 3], whether each point is seen [N, P], and whether that is known [N, P]."""
    images, size, flip = ImageCache(limit=0), config.stages[-1].input_size, list(layout.flip)
    batch = []
    for index, face in enumerate(faces):
        image, (labels, known) = images.load(face.image), labels_of(face, layout)
        for draw, augment in enumerate((WHOLE, OCCLUDED)):
            rng = np.random.default_rng([config.seed, draw, index])
            crop = augmented_crop(image, face.box_of(config.boxes), config.crop_scale, size, augment, rng)
            points = transform_points(crop.matrix, face.points)
            order = flip if crop.mirrored else slice(None)
            inside, covered = at_pixels(crop.covered, points[order])
            batch.append((crop.pixels, labels[order] & ~covered, known[order] & inside))
        if len(batch) >= BATCH or index == len(faces) - 1:
            crops, seen, weights = (np.stack(each) for each in zip(*batch, strict=True))
            yield crops, seen, weights
            batch = []


def with_mirrored(samples: Samples, flip: Sequence[int]) -> Samples:
    """The samples, then the same of the mirrored faces."""
    order = list(flip)
    others = mirrored(samples.features, flip), samples.seen[:, order], samples.weights[:, order]
    return Samples(*(torch.cat(pair) for pair in zip(samples, others, strict=True)))


# ---------------------------------------------------------------- fit


def fit(network: RefinedNetwork, samples: Samples) -> None:
    """Sets the network's layer to the logistic regression, for each point, of whether it is seen on the features."""
    assert network.visibility is not None
    with torch.no_grad():
        features = network.tilt.with_pose(samples.features)
    mean, deviation = features.mean(dim=0), features.std(dim=0) + MIN_DEVIATION
    x = torch.cat([(features - mean) / deviation, torch.ones(len(features), 1)], dim=1)
    ridge = torch.full((x.shape[1], 1), RIDGE)
    ridge[-1] = MIN_RIDGE
    # in coordinates in which the loss is about as curved in every direction, some twenty steps suffice
    root = torch.linalg.cholesky(0.25 * x.T @ x + torch.diag(ridge.squeeze(1))).T
    scaled = torch.zeros(x.shape[1], samples.seen.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([scaled], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        slopes = torch.linalg.solve_triangular(root, scaled, upper=True)
        logits = x @ slopes
        surprise = samples.weights * (functional.softplus(logits) - samples.seen * logits)
        total = surprise.sum() + 0.5 * (ridge * slopes**2).sum()
        total.backward()
        return float(total.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        slopes = torch.linalg.solve_triangular(root, scaled, upper=True)
        weight = slopes[:-1] / deviation[:, None]
        network.visibility.regression.weight.copy_(weight.T)
        network.visibility.regression.bias.copy_(slopes[-1] - mean @ weight)
