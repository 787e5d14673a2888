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

EPOCHS: Final = 16
"""Passes over the samples, or more where these are few: see MIN_STEPS."""
MIN_STEPS: Final = 600
"""Least number of steps of the optimiser."""
BATCH_SIZE: Final = 128
LEARNING_RATE: Final = 3e-3
WEIGHT_DECAY: Final = 0.2
DROPOUT: Final = 0.3
"""Of hidden units; of features half as many are dropped."""
OCCLUDED_WEIGHT: Final = 0.45
"""How much a sample with something pasted over it counts beside one without. More would make the probabilities too low
on faces that nothing covers, less too high on those that something does."""
MIN_DEVIATION: Final = 1e-6
"""Added to the standard deviation of each feature, so that those that do not vary can be divided by it."""

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
    """float32 [N, P] 0 where nobody knows, or the point lies outside the crop; otherwise 1, or OCCLUDED_WEIGHT."""


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


def evenly(data: TrainingData, limits: Sequence[int] | None) -> TrainingData:
    """At most as many faces of each data set, evenly spread, as the limits say: one for all, or one for each."""
    if not limits:
        return data
    sets = [data.faces, *data.extra]
    each = limits if len(limits) > 1 else [limits[0]] * len(sets)
    faces, *extra = (evenly_spread(faces, limit) for faces, limit in zip(sets, each, strict=True))
    return replace(data, faces=faces, extra=extra)


@torch.no_grad()
def figures(network: RefinedNetwork, samples: Samples) -> VisibilityFigures:
    """How well the layer states what it was fitted to."""
    assert network.visibility is not None
    known = samples.weights > 0
    stated = network.visibility(samples.features)[known].double().numpy()
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
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]]:
    """Crops [N, H, W, 3], whether each point is seen [N, P], and how much that counts [N, P]: see `Samples.weights`."""
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
            weight = OCCLUDED_WEIGHT if draw else 1.0
            batch.append((crop.pixels, labels[order] & ~covered, weight * (known[order] & inside)))
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


def fit(network: RefinedNetwork, samples: Samples, seed: int = 0) -> None:
    """Fits the network's layer by the likelihood of what is seen. The same samples and seed give the same layer."""
    layer = network.visibility
    assert layer is not None
    mean, deviation = samples.features.mean(dim=0), samples.features.std(dim=0) + MIN_DEVIATION
    x = (samples.features - mean) / deviation
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        bound = layer.inputs**-0.5
        layer.hidden.weight.uniform_(-bound, bound, generator=generator)
        layer.hidden.bias.uniform_(-bound, bound, generator=generator)
    steps_per_epoch = -(-len(x) // BATCH_SIZE)
    epochs = max(EPOCHS, -(-MIN_STEPS // steps_per_epoch))
    optimizer = torch.optim.AdamW(layer.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps_per_epoch)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            hidden = layer.hidden(dropped(x[rows], DROPOUT / 2, generator)).relu()
            logits = layer.regression(dropped(hidden, DROPOUT, generator))
            surprise = functional.softplus(logits) - samples.seen[rows] * logits
            loss = (samples.weights[rows] * surprise).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        weight = layer.hidden.weight / deviation
        layer.hidden.bias.sub_(weight @ mean)
        layer.hidden.weight.copy_(weight)


def dropped(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The values with that share of them set to 0, and the others enlarged by as much on average."""
    kept = torch.rand(values.shape, generator=generator) >= share
    return values * kept / (1 - share)
