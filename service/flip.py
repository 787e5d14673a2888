"""Flip averaging: a face is answered together with its mirror image, and the two answers are averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.layout import FLIP

_FLIP = np.array(FLIP)


def with_mirrored(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops [N, S, S, 3] -> [2 N, S, S, 3]: the crops, then their mirror images."""
    return np.concatenate([crops, crops[:, :, ::-1]])


def average(decoded: Decoded, size: int) -> Decoded:
    """What was decoded of `with_mirrored` crops of side `size` [2 N, ...] -> one answer a crop [N, ...].

    Points and scores are means. A covariance is that of the two answers' mixture: their mean, and the part that the
    points' disagreement adds.
    """
    count = len(decoded.points) // 2
    seen, mirrored = (Decoded(*(values[part] for values in decoded)) for part in (slice(count), slice(count, None)))
    back = mirror(mirrored, size)
    apart = (seen.points - back.points) / 2
    spread = (seen.covariances + back.covariances) / 2 + apart[..., :, None] * apart[..., None, :]
    return Decoded((seen.points + back.points) / 2, (seen.scores + back.scores) / 2, spread)


def mirror(decoded: Decoded, size: int) -> Decoded:
    """The answer [N, ...] for crops of side `size` -> the answer for their mirror images."""
    sign: NDArray[np.float32] = np.array([-1, 1], np.float32)
    points = decoded.points[:, _FLIP] * sign + np.array([size - 1, 0], np.float32)
    covariances = decoded.covariances[:, _FLIP] * (sign[:, None] * sign)
    return Decoded(points, decoded.scores[:, _FLIP], covariances)
