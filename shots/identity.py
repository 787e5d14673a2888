"""Which faces of neighbouring frames are the same: records -> the faces of a shot.

Each frame's faces are matched to those known from before at the least total cost (the Hungarian method), by how far the
points lie from where the optical flow has carried them, and by the overlap of the boxes. A face that is not found for a
while is matched by its last place. Numbers are given in the order of appearance and never again; a cut ends all faces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from shots.assignment import least_cost
from shots.records import FoundFace, Record
from shots.tracks import Floats

_MAX_DISTANCE: Final = 0.5
"""Mean distance of the points, in sizes of the face, from which on two faces are not the same."""
_MAX_GAP: Final = 24
"""Frames for which a face that is not found is remembered: about a second."""
_MAX_GROWTH: Final = 2.0
"""Times by which a face is larger or smaller after a gap at most."""
_IMPOSSIBLE: Final = 1e3
"""More than any number of possible costs."""


@dataclass
class Sighting:
    """One face through the shot: its faces in the records."""

    id: int
    places: list[tuple[int, int]] = field(default_factory=list)
    """Index of the record, and of the face in it."""


@dataclass(frozen=True, eq=False)
class Known:
    """A face that may come again."""

    id: int
    points: Floats
    """Where they are expected."""
    box: Floats
    index: int
    """Of the frame in which it was last found."""


K = TypeVar("K", bound=Known)


def identify(records: Sequence[Record]) -> list[Sighting]:
    """The faces of a shot, in the order of their first frames."""
    sightings: list[Sighting] = []
    known: list[Known] = []
    for i, record in enumerate(records):
        if record.frame.is_cut:
            known = []
        known = [_carried(each, sightings[each.id - 1], record, i) for each in remembered(known, i)]
        pairs = matched(known, record.faces)
        found = []
        for j, face in enumerate(record.faces):
            if j in pairs:
                sighting = sightings[known[pairs[j]].id - 1]
            else:
                sighting = Sighting(len(sightings) + 1)
                sightings.append(sighting)
            sighting.places.append((i, j))
            found.append(Known(sighting.id, face.points, face.box, i))
        known = found + unmatched(known, pairs)
    return sightings


def remembered(known: Sequence[K], index: int) -> list[K]:
    """Those that may still come again in a frame."""
    return [each for each in known if index - each.index <= _MAX_GAP]


def unmatched(known: Sequence[K], pairs: Mapping[int, int]) -> list[K]:
    """Those that were not found."""
    found = set(pairs.values())
    return [each for k, each in enumerate(known) if k not in found]


def _carried(known: Known, sighting: Sighting, record: Record, i: int) -> Known:
    """The face where the optical flow says, if it was seen in the frame before."""
    record_index, face_index = sighting.places[-1]
    if record_index != i - 1 or record.flow is None or face_index >= len(record.flow):
        return known
    points = record.flow[face_index].points
    shift = np.median(points - known.points, axis=0)
    return Known(known.id, points, known.box + np.tile(shift, 2), known.index)


def matched(known: Sequence[Known], faces: Sequence[FoundFace]) -> dict[int, int]:
    """Index of a face -> index of the known face that it is."""
    if not known or not faces:
        return {}
    costs = np.array([[_cost(each, face) for each in known] for face in faces])
    return {j: k for j, k in least_cost(np.minimum(costs, _IMPOSSIBLE)) if costs[j, k] < _IMPOSSIBLE}


def _cost(known: Known, face: FoundFace) -> float:
    """Infinite where they cannot be the same; else the distance of the points in sizes of the face, and 1 - IoU."""
    size, known_size = _size(face.points), _size(known.points)
    distance = float(np.linalg.norm(face.points - known.points, axis=1).mean()) / max(size, known_size)
    if distance > _MAX_DISTANCE or max(size, known_size) > _MAX_GROWTH * min(size, known_size):
        return np.inf
    return distance + 1 - _overlap(face.box, known.box)


def _size(points: Floats) -> float:
    return max(float(np.sqrt(np.ptp(points, axis=0).prod())), 1e-6)


def _overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(sides.clip(0).prod())
    return shared / max(float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared, 1e-9)
