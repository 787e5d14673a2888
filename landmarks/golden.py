"""The golden crop: one real face whose answer every exported model states, so that a server can check itself at start.

The image is NASA's portrait of Eileen Collins (public domain).
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.crop import Crop, warp
from landmarks.metadata import ModelMetadata
from landmarks.size import DEFAULT_SIZE, Size

GOLDEN_TOLERANCE: Final = 0.05
"""Largest difference in crop pixels between a point as exported and as served (other kernels, same weights)."""
GOLDEN_SCORE_TOLERANCE: Final = 0.002
"""Largest difference between a point's score as exported and as served."""
GOLDEN_COVARIANCE_TOLERANCE: Final = 0.002
"""Largest difference between an entry of a point's covariance as exported and as served, as a share of its trace plus
NEGLIGIBLE_VARIANCE. docs/decisions/0018 has the measurements that these follow from.
"""
GOLDEN_VISIBILITY_TOLERANCE: Final = 0.01
"""Largest difference between a point's visibility as exported and as served."""
NEGLIGIBLE_VARIANCE: Final = 0.1
"""Crop pixels squared: keeps the rounding of the stated covariance of an almost certain point from counting."""


class GoldenError(ValueError):
    """The golden crop is not answered as the model's metadata state; the message says by how much."""


def golden_crop(size: Size = DEFAULT_SIZE) -> NDArray[np.uint8]:
    """The golden crop as RGB [size.height, size.width, 3]; a rectangle shows the middle of the square portrait."""
    data = np.frombuffer(files("landmarks").joinpath("golden.png").read_bytes(), np.uint8)
    image = np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
    side = len(image)
    return warp(image, Crop((side - 1) / 2, (side - 1) / 2, side, size).image_to_crop(), size)


def with_golden_answer(metadata: ModelMetadata, decoded: Decoded) -> ModelMetadata:
    """The metadata with the model's answer to the golden crop: `decoded` of a batch of it, by the default decoder.

    Points are rounded to 1/1000 pixel, the rest to 1/10,000.
    """
    points, scores, covariances, visibility = (values[0].astype(np.float64) for values in decoded)
    triples = np.stack([covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]], axis=1)
    return replace(
        metadata,
        golden_points=tuple((x, y) for x, y in points.round(3).tolist()),
        golden_scores=tuple(scores.round(4).tolist()),
        golden_covariances=tuple((xx, xy, yy) for xx, xy, yy in triples.round(4).tolist()),
        golden_visibility=tuple(visibility.round(4).tolist()),
    )


def check_golden_answer(metadata: ModelMetadata, decoded: Decoded) -> None:
    """Raises GoldenError unless each answer to a batch of golden crops is the one that the metadata state.

    `decoded`: arrays [N, ...] by the default decoder. Models exported before metadata had scores and covariances are
    checked by their points alone.
    """
    points = np.array(metadata.golden_points, np.float64)
    if points.shape != decoded.points.shape[1:]:
        raise GoldenError("the model's metadata holds no golden points: export it with landmarks-train export")
    batch = f"in a batch of {len(decoded.points)}"
    error = np.abs(decoded.points - points).max()
    if not error <= GOLDEN_TOLERANCE:
        reason = "wrong weights, or a wrong runtime"
        raise GoldenError(f"the golden crop is answered {error:.3f} pixels off {batch}: {reason}")
    if not metadata.golden_scores:
        return
    reason = "a decoder of another release than the export's, or a runtime of fewer digits"
    error = np.abs(decoded.scores - np.array(metadata.golden_scores)).max()
    if not error <= GOLDEN_SCORE_TOLERANCE:
        raise GoldenError(f"the golden crop's scores are {error:.4f} off {batch}: {reason}")
    error = _covariance_error(decoded.covariances, np.array(metadata.golden_covariances))
    if not error <= GOLDEN_COVARIANCE_TOLERANCE:
        raise GoldenError(f"the golden crop's covariances are {100 * error:.2f} % off {batch}: {reason}")
    if not metadata.has_visibility:
        return
    error = np.abs(decoded.visibility - np.array(metadata.golden_visibility)).max()
    if not error <= GOLDEN_VISIBILITY_TOLERANCE:
        raise GoldenError(f"the golden crop's visibility is {error:.4f} off {batch}: {reason}")


def _covariance_error(covariances: NDArray[Any], triples: NDArray[np.float64]) -> float:
    """The largest difference of an entry as a share of the variance: [N, P, 2, 2] against xx, xy, yy [P, 3]."""
    xx, xy, yy = triples.T
    expected = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
    return float((np.abs(covariances - expected) / (xx + yy + NEGLIGIBLE_VARIANCE)[:, None, None]).max())
