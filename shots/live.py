"""Faces that are followed as their frames come: their numbers, and points smoothed by what is known so far.

What goes from one frame to the next is a value, `State`. So whoever has it continues a stream that broke, on whichever
machine, and gets what it would have got. Its numbers are float32, as they are sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shots.cuts import differ
from shots.flow import Grey
from shots.identity import Known, matched, remembered, unmatched
from shots.records import FoundFace
from shots.smoothing import OneEuro
from shots.tracks import Floats

DEFAULT_RATE: Final = 24.0
"""Frames per second of a stream that does not say."""
MAX_REMEMBERED: Final = 256
"""Faces that were not found and may come again: those that were found last."""


@dataclass(frozen=True, eq=False)
class LiveFace(Known):
    """A face as it was when it was last found; `index` is the number of that frame."""

    smoothed: Floats
    """[P, 2]"""
    velocities: Floats
    """[P, 2] pixels a second, of the filter"""
    gap: int = 0
    """Frames before that one in which it was not found, since it was."""


@dataclass(frozen=True, eq=False)
class State:
    """What has to be known of the frames before."""

    frame: int
    """Number of the last one."""
    next_id: int = 1
    glance: Grey | None = None
    """At the last frame that could be read."""
    faces: tuple[LiveFace, ...] = ()


@dataclass(frozen=True, eq=False)
class Followed:
    """One frame with what was known before it."""

    state: State
    faces: tuple[LiveFace, ...]
    """Those of the frame, in its order."""
    is_cut: bool
    missing: int
    """Frames between the one before and this one."""


def follow(before: State | None, number: int, glance: Grey | None, faces: Sequence[FoundFace], rate: float) -> Followed:
    """The next frame of a shot. `before`: None for the first. `glance`: None where the frame could not be read."""
    before = before or State(number - 1)
    is_cut = before.glance is not None and glance is not None and differ(before.glance, glance)
    known = [] if is_cut else remembered(before.faces, number)
    pairs = matched(known, faces)
    found, next_id = [], before.next_id
    for j, face in enumerate(faces):
        if j in pairs:
            found.append(_again(known[pairs[j]], face, number, rate))
        else:
            points = _float32(face.points)
            found.append(LiveFace(next_id, points, _float32(face.box), number, points, np.zeros_like(points)))
            next_id += 1
    rest = sorted(unmatched(known, pairs), key=lambda each: -each.index)[:MAX_REMEMBERED]
    state = State(number, next_id, before.glance if glance is None else glance, (*found, *rest))
    return Followed(state, tuple(found), is_cut, number - before.frame - 1)


def _again(known: LiveFace, face: FoundFace, number: int, rate: float) -> LiveFace:
    """A face that was found before."""
    steps = number - known.index
    one_euro = OneEuro(known.smoothed, known.velocities)
    smoothed = _float32(one_euro(face.points, steps / rate))
    velocities = _float32(one_euro.velocities)
    return LiveFace(known.id, _float32(face.points), _float32(face.box), number, smoothed, velocities, steps - 1)


def _float32(values: NDArray[np.floating[Any]] | None) -> Floats:
    """What is left of numbers once they were sent."""
    return np.asarray(np.asarray(values, np.float32), np.float64)
