"""Flip averaging: a face is inferred together with its mirror image, and the two answers are averaged.

The service averages points rather than heatmaps: that works for both pixel rules of the codec, and with a server that
answers with points. `average_maps` averages heatmaps, for comparison.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec, Decoded
from landmarks.layout import PointLayout

F = TypeVar("F", bound=np.floating[Any])


def with_mirrored(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops [N, H, W, 3] -> [2 N, H, W, 3]: the crops, then their mirror images."""
    return np.concatenate([crops, mirrored(crops)])


def mirrored(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mirror images of crops [N, H, W, 3]."""
    return np.ascontiguousarray(crops[:, :, ::-1])


def average(decoded: Decoded, width: int, layout: PointLayout) -> Decoded:
    """What was decoded of `with_mirrored` crops of that width in pixels [2 N, ...] -> one answer a crop [N, ...].

    Points, scores and visibility are means. A covariance is that of the mixture of the two answers: the mean of theirs,
    plus the spread of the two points.
    """
    count = len(decoded.points) // 2
    seen, other = (Decoded(*(values[part] for values in decoded)) for part in (slice(count), slice(count, None)))
    back = mirror(other, width, layout)
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


def mirror(decoded: Decoded, width: int, layout: PointLayout) -> Decoded:
    """The answer [N, ...] for crops of that width in pixels -> the answer for their mirror images."""
    flip = list(layout.flip)
    scores, covariances = decoded.scores[:, flip], decoded.covariances[:, flip]
    # a network that does not state it has no columns
    visibility = decoded.visibility[:, flip] if decoded.visibility.shape[1] else decoded.visibility
    sign: NDArray[np.float32] = np.array([-1, 1], np.float32)
    back = mirror_points(decoded.points, width, layout)
    return Decoded(back, scores, covariances * (sign[:, None] * sign), visibility)


def mirror_points(points: NDArray[F], width: int, layout: PointLayout) -> NDArray[F]:
    """Points [..., P, 2] of crops of that width in pixels -> those of their mirror images, left and right exchanged."""
    back = points[..., list(layout.flip), :]
    back[..., 0] = width - 1 - back[..., 0]
    return back


def average_maps(heatmaps: NDArray[np.float32], codec: CodecSpec, layout: PointLayout) -> NDArray[np.float32]:
    """Logits for `with_mirrored` crops [2 N, P, rows, columns] -> logarithms of the mean of both softmaxes [N, ...].

    With pixel rule "corner" the map of a mirrored crop, once mirrored back, lies 1 - 1/stride cells to the left of the
    crop's own. It is moved by one cell to the right, as HRNet's code does it, which leaves 1/stride of a cell.
    """
    count = len(heatmaps) // 2
    seen, back = heatmaps[:count], heatmaps[count:, list(layout.flip), :, ::-1]
    if codec.pixel_rule == "corner":
        back = np.concatenate([back[..., :1], back[..., :-1]], axis=-1)
    mean = (_softmax(seen) + _softmax(back)) / 2
    logits: NDArray[np.float32] = np.log(np.maximum(mean, np.finfo(np.float32).tiny))
    return logits


def _softmax(heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each map [..., rows, columns] normalised to a sum of one."""
    weights = np.exp(heatmaps - heatmaps.max(axis=(-2, -1), keepdims=True))
    normalised: NDArray[np.float32] = weights / weights.sum(axis=(-2, -1), keepdims=True)
    return normalised
