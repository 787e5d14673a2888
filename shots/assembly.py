"""The records of a whole shot -> its tracks: identities, smoothing and the report, once for all frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from landmarks.layout import PointLayout
from shots.flow import Flow
from shots.identity import Sighting, identify
from shots.records import Header, Record
from shots.report import report
from shots.smoothing import SETTINGS, Observed, smooth
from shots.tracks import FaceTrack, ShotTracks


def assemble(header: Header, records: Sequence[Record]) -> ShotTracks:
    """`records`: all frames of the shot, by increasing number."""
    tracked = [_track(sighting, records, header.layout) for sighting in identify(records)]
    shot = ShotTracks(
        header.plate,
        tuple(record.frame for record in records),
        header.layout,
        tuple(track for track, _ in tracked),
        header.model,
        {**header.settings, "smoothing": SETTINGS},
    )
    about = [{**own, "gaps": [list(gap) for gap in shot.gaps(track)]} for track, own in tracked]
    return replace(shot, report={"faces": about})


def _track(sighting: Sighting, records: Sequence[Record], layout: PointLayout) -> tuple[FaceTrack, dict[str, Any]]:
    """The track of a face, and the report about it."""
    places = sighting.places
    faces = [records[i].faces[j] for i, j in places]
    raw = np.stack([face.points for face in faces])
    covariances = np.stack([face.covariances for face in faces])
    flows = [None, *(_flow(a, b, records) for a, b in pairwise(places))]
    steps = [1, *(b[0] - a[0] for a, b in pairwise(places))]
    smoothed = smooth(Observed(raw, covariances, flows, steps, layout.groups))
    track = FaceTrack(
        sighting.id,
        np.array([records[i].frame.number for i, _ in places], np.int64),
        np.stack([face.box for face in faces]),
        np.array([face.score for face in faces]),
        raw,
        covariances,
        smoothed.points,
        smoothed.covariances,
    )
    return track, report(track.id, raw, smoothed, flows)


def _flow(before: tuple[int, int], after: tuple[int, int], records: Sequence[Record]) -> Flow | None:
    """Where the points of a face are in its next frame; None where that is not the next of the shot."""
    flow = records[after[0]].flow
    return flow[before[1]] if flow is not None and after[0] == before[0] + 1 else None
