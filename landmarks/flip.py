"""Flip averaging: a face is inferred together with its mirror image, and the two answers are averaged.

Points are averaged rather than heatmaps: that works for both pixel rules of the codec, and with a server that answers
with points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.layout import PointLayout


def with_mirrored(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops [N, S, S, 3] -> [2 N, S, S, 3]: the crops, then their mirror images."""
    return np.concatenate([crops, crops[:, :, ::-1]])


def average(decoded: Decoded, size: int, layout: PointLayout) -> Decoded:
    """What was decoded of `with_mirrored` crops of side `size` [2 N, ...] -> one answer a crop [N, ...].

    Points, scores and visibility are means. A covariance is that of the mixture of the two answers: the mean of theirs,
    plus the spread of the two points.
    """
    count = len(decoded.points) // 2
    seen, mirrored = (Decoded(*(values[part] for values in decoded)) for part in (slice(count), slice(count, None)))
    back = mirror(mirrored, size, layout)
    apart = (seen.points - back.points) / 2
    spread = (seen.covariances + back.covariances) / 2 + apart[..., :, None] * apart[..., None, :]
    points, scores, visibility = (
        (one + other) / 2
        for one, other in (
            (seen.points, back.points),
            (seen.scores, back.scores),
            (seen.visibility, back.visibility),
        )
    )
    return Decoded(points, scores, spread, visibility)


def mirror(decoded: Decoded, size: int, layout: PointLayout) -> Decoded:
    """The answer [N, ...] for crops of side `size` -> the answer for their mirror images."""
    flip = list(layout.flip)
    points, scores, covariances = decoded.points[:, flip], decoded.scores[:, flip], decoded.covariances[:, flip]
    # a network that does not state it has no columns
    visibility = decoded.visibility[:, flip] if decoded.visibility.shape[1] else decoded.visibility
    sign: NDArray[np.float32] = np.array([-1, 1], np.float32)
    back = points * sign + np.array([size - 1, 0], np.float32)
    return Decoded(back, scores, covariances * (sign[:, None] * sign), visibility)
