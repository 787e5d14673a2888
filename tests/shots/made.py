"""Shots made up for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from landmarks.layout import WFLW98
from shots.tracks import FaceTrack, Plate, ShotFrame, ShotTracks

FRAMES = (1001, 1002, 1003, 1006, 1007)
"""The face is not known in 1004, 1005, and from 1008 on."""


def made_face(
    identity: int = 1, frames: Sequence[int] = FRAMES, at: tuple[float, float] = (100.25, 200.75), step: float = 1.0
) -> FaceTrack:
    """All points lie `at` this place in the first frame, and move by (step, step) from each to the next."""
    n = len(frames)
    move = step * np.arange(n, dtype=np.float64)[:, None, None]
    points = np.tile(np.array(at), (n, 98, 1)) + move
    covariances = np.tile(np.array([0.04, 0.01, 0.09]), (n, 98, 1))
    boxes = np.tile(np.array([80.0, 180.0, 120.0, 220.0]), (n, 1))
    return FaceTrack(
        identity,
        np.array(frames),
        boxes,
        np.full(n, 0.9),
        points + 0.5,
        covariances * 4.0,
        points,
        covariances,
    )


def made_shot(*faces: FaceTrack, frames: Sequence[int] = range(1001, 1010), **plate: Any) -> ShotTracks:
    """A plate of 1920 x 1080 pixels with 24000/1001 frames per second, unless `plate` says otherwise."""
    values = {"name": "plate", "source": "plate.####.exr", "width": 1920, "height": 1080, "rate": Fraction(24000, 1001)}
    return ShotTracks(
        Plate(**{**values, **plate}), tuple(ShotFrame(frame) for frame in frames), WFLW98, faces or (made_face(),)
    )
