"""Which points become tracks, and what they are called: `face01_right_eye_outer_corner`."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from shots.errors import ShotError
from shots.tracks import Floats, ShotTracks

Kind = Literal["smoothed", "raw"]


@dataclass(frozen=True, eq=False)
class Track:
    """One point of one face through the shot."""

    name: str
    face: int
    """The id of the face."""
    point: int
    """Index in the layout."""
    frames: NDArray[np.int64]
    """[F] numbers of the frames that it is known in"""
    positions: Floats
    """[F, 2] x, y, as in `shots.tracks`"""
    covariances: Floats
    """[F, 3] xx, xy, yy"""

    def runs(self, step: int) -> list[slice]:
        """The parts without gaps, of a shot whose neighbouring frames are `step` apart, as slices of the arrays."""
        ends = [0, *(np.flatnonzero(np.diff(self.frames) > step) + 1).tolist(), len(self.frames)]
        return [slice(a, b) for a, b in pairwise(ends)]


def chosen_points(layout: PointLayout, chosen: Sequence[str]) -> list[int]:
    """Indices of the points that are named: by group, by name, or by a pattern of names such as `*_eye_*_corner`.

    Nothing chosen stands for all points. Raises ShotError of code `unknown_points`.
    """
    found: set[int] = set()
    for each in chosen:
        matching = set(layout.groups.get(each, ()))
        matching |= {i for i, name in enumerate(layout.point_names) if fnmatch.fnmatchcase(name, each)}
        if not matching:
            groups = ", ".join(layout.groups)
            raise ShotError(
                "unknown_points",
                f"no point or group is called {each[:60]!r}: the groups are {groups}; docs/vfx.md lists the points",
            )
        found |= matching
    return sorted(found) if chosen else list(range(layout.points))


def track_name(face: int, point: str) -> str:
    """The name of a track: unique in the shot; letters, digits and underscores, which every package accepts."""
    return f"face{face:02d}_{point}"


def select(
    shot: ShotTracks, *, points: Sequence[str] = (), faces: Collection[int] = (), kind: Kind = "smoothed"
) -> list[Track]:
    """The tracks of the chosen points of the chosen faces (nothing stands for all).

    Raises ShotError of code `unknown_points`, `unknown_face`, or `no_tracks` where the shot has no face at all.
    """
    if unknown := sorted(set(faces) - {face.id for face in shot.faces}):
        known = ", ".join(str(face.id) for face in shot.faces) or "none"
        raise ShotError("unknown_face", f"there is no face {unknown[0]} in this shot; its faces: {known}")
    indices = chosen_points(shot.layout, points)
    if not shot.faces:
        raise ShotError("no_tracks", "no face was found in this shot: there is nothing to export")
    return [
        Track(
            track_name(face.id, shot.layout.point_names[i]),
            face.id,
            i,
            face.frames,
            (face.smoothed if kind == "smoothed" else face.raw)[:, i],
            (face.smoothed_covariances if kind == "smoothed" else face.raw_covariances)[:, i],
        )
        for face in shot.faces
        if not faces or face.id in faces
        for i in indices
    ]
