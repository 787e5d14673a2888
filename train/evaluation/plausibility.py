"""Fits the plausibility of faces: what tells a network's answers for squeezed pictures from those for others.

See `landmarks.uncertainty.Plausibility`. It needs no labels: each face is shown as it is and squeezed, in crops that
vary as those that are served do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from landmarks.layout import PointLayout
from landmarks.uncertainty import MAX_LOGIT, Plausibility, features_of
from train.datasets.face import AnnotatedFace, BoxKind
from train.evaluation.metrics import Array
from train.evaluation.predict import SecondPass, predict
from train.evaluation.trained import Trained
from train.samples.variants import squeezed, turned

SQUEEZES: Final = (1.7, 2.2)
"""Least and largest factor between the two directions of a squeezed picture; anamorphic plates have 2. Smaller ones are
answered well enough."""
ROLL: Final = 30.0
"""Degrees of a face that is shown turned, at most, to either side."""
JITTER: Final = 0.06
"""Standard deviation of the edges of boxes, in sides of the box."""
RIDGE: Final = 10.0
"""Weight of the squared coefficients of standardized features beside the log-likelihood of all samples."""
DOUBTED: Final = 0.0009
"""Share of the true faces whose plausibility is below a half."""
STEEPNESS: Final = 2.0
"""Factor of the fitted logits. Nearly all true faces then have a plausibility of 1, so that the covariances rank their
scores as before."""
STEPS: Final = 30
"""Newton steps, at most."""
MIN_DEVIATION: Final = 1e-6
"""Added to the standard deviation of each feature."""


def fit_plausibility(
    model: Trained, faces: Sequence[AnnotatedFace], layout: PointLayout, boxes: BoxKind = "P2", seed: int = 0
) -> Plausibility | None:
    """Fits to the answers for faces; None for a layout that is not one of faces, whose aspects are anything.

    The samples of a face depend on the seed and on its place among the faces.
    """
    if layout.upright is None:
        return None
    true, false = (
        _features(model, [each for i, face in enumerate(faces) for each in made(face, seed, i)], layout, boxes)
        for made in (true_samples, false_samples)
    )
    return fit(true, false, layout)


def true_samples(face: AnnotatedFace, seed: int, index: int) -> Iterator[AnnotatedFace]:
    """The face as it is, and turned; each in a box that is a little off."""
    rng = np.random.default_rng([seed, 0, index])
    for each in (face, turned(face, float(rng.uniform(-ROLL, ROLL)))):
        yield _jittered(each, rng)


def false_samples(face: AnnotatedFace, seed: int, index: int) -> Iterator[AnnotatedFace]:
    """The face squeezed in one direction and in the other."""
    rng = np.random.default_rng([seed, 1, index])
    low, high = np.log(SQUEEZES)
    for vertical in (False, True):
        share = float(np.exp(-rng.uniform(low, high)))
        yield _jittered(squeezed(face, 1.0 if vertical else share, share if vertical else 1.0), rng)


def _jittered(face: AnnotatedFace, rng: np.random.Generator) -> AnnotatedFace:
    extent = np.tile(face.box[2:] - face.box[:2], 2)
    return replace(face, box=face.box + np.clip(rng.normal(0, JITTER, 4), -0.2, 0.2) * extent)


def _features(model: Trained, faces: Sequence[AnnotatedFace], layout: PointLayout, boxes: BoxKind) -> Array:
    """[faces, 3 P] of the answers that are served."""
    second = SecondPass(model.points_crop, "auto") if model.points_crop else None
    k = model.codec.topk
    predictions = predict(
        model.network,
        faces,
        model.codec,
        model.crop_scale,
        [k],
        boxes,
        progress=True,
        layout=layout,
        correction=model.correction,
        second=second,
        label="plausibility",
    )
    decoded = predictions.decoded[k]
    return np.asarray(features_of(decoded.points, decoded.covariances, layout), np.float64)


def fit(true: Array, false: Array, layout: PointLayout) -> Plausibility:
    """The logistic regression of features of true faces against those of squeezed ones, [n, 3 P] each.

    Mirror images are fitted along. The bias is such that DOUBTED of the true faces have a plausibility below a half.
    """
    true, false = (np.concatenate([each, mirrored(each, layout)]) for each in (true, false))
    x, is_true = np.concatenate([true, false]), np.repeat([1.0, 0.0], [len(true), len(false)])
    mean, deviation = x.mean(axis=0), x.std(axis=0) + MIN_DEVIATION
    weights = (STEEPNESS * regression((x - mean) / deviation, is_true) / deviation).round(4)
    return Plausibility(tuple(weights.tolist()), round(-float(np.quantile(true @ weights, DOUBTED)), 4))


def mirrored(features: Array, layout: PointLayout) -> Array:
    """The features [n, 3 P] of the mirrored faces."""
    x, y, spread = (each[:, list(layout.flip)] for each in np.split(features, 3, axis=1))
    return np.concatenate([-x, y, spread], axis=1)


def regression(x: Array, y: Array) -> Array:
    """The coefficients [d] of the logistic regression of y [n], 0 or 1, on x [n, d] and a constant. Newton's method."""
    rows = np.column_stack([x, np.ones(len(x))])
    ridge = np.append(np.full(x.shape[1], RIDGE), 1e-3)
    coefficients = np.zeros(rows.shape[1])
    for _ in range(STEPS):
        said = 1 / (1 + np.exp(-np.clip(rows @ coefficients, -MAX_LOGIT, MAX_LOGIT)))
        slope = rows.T @ (said - y) + ridge * coefficients
        step = np.linalg.solve((rows.T * (said * (1 - said))) @ rows + np.diag(ridge), slope)
        coefficients -= step
        if np.abs(step).max() < 1e-4:
            break
    return coefficients[:-1]
