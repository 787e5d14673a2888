"""What is reported of each face: how much its points flicker and swim, before and after smoothing.

Both are measured in the coordinates of the skin, as the optical flow carries them: from one frame to the next, and over
SPAN frames, in which the flow itself drifts little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from shots.flow import Flow
from shots.smoothing import Smoothed
from shots.tracks import Floats

SPAN: Final = 12
"""Frames"""


def report(identity: int, raw: Floats, smoothed: Smoothed, flows: Sequence[Flow | None]) -> dict[str, Any]:
    """JSON values: `frames`; `flicker` and `swim` in pixels, each `raw` and `smoothed`; `innovation`.

    `flicker_by_frame`: the median over the points for each frame of the face, None where it is not known.
    """
    pairs = {"raw": raw, "smoothed": smoothed.points}
    off = {name: _off_the_skin(points, raw, flows) for name, points in pairs.items()}
    return {
        "id": identity,
        "frames": len(raw),
        "flicker": {name: round(_median([_sizes(step) for step in steps if step is not None]), 4)
                    for name, steps in off.items()},
        "swim": {name: round(_median(_swims(steps)), 4) for name, steps in off.items()},
        "innovation": round(smoothed.innovation, 3),
        "flicker_by_frame": {name: [None, *(None if step is None else round(_median([_sizes(step)]), 4)
                             for step in steps)] for name, steps in off.items()},
    }  # fmt: skip


def _off_the_skin(points: Floats, raw: Floats, flows: Sequence[Flow | None]) -> list[Floats | None]:
    """How far points [F, P, 2] move against the skin from each frame to the next; None where the flow is not known."""
    return [
        None if flow is None else points[t] - points[t - 1] - (flow.points - raw[t - 1])
        for t, flow in enumerate(flows)
        if t > 0
    ]


def _swims(steps: Sequence[Floats | None]) -> list[Floats]:
    """Standard deviation of each point on the skin over each SPAN frames without a gap."""
    swims = []
    for start in range(0, len(steps) - SPAN + 1, SPAN):
        span = [step for step in steps[start : start + SPAN] if step is not None]
        if len(span) == SPAN:
            swims.append(_sizes(np.cumsum(span, axis=0).std(axis=0)))
    return swims


def _sizes(vectors: Floats) -> Floats:
    """[P, 2] -> [P]"""
    return np.asarray(np.linalg.norm(vectors, axis=1), np.float64)


def _median(values: Sequence[Floats]) -> float:
    return float(np.median(np.concatenate(values))) if values else 0.0
