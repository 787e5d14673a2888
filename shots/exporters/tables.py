"""CSV and JSON, for scripts of one's own.

- Origin: the centre of the top-left pixel of the display window, y down: the coordinates of `shots.tracks` as they are.
- Frames: their own numbers.
- Gaps: no row, no key.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from shots.selection import Track
from shots.tracks import ShotTracks, dumps, rounded_covariances, rounded_points

_HEADER: Final = ("track", "face", "point", "frame", "time", "x", "y", "xx", "xy", "yy")


def write_csv(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """A row for each point in each frame: position in pixels, covariance in pixels squared, time in seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    times = {frame.number: frame.time for frame in shot.frames}
    for track in tracks:
        about = (track.name, track.face, shot.layout.point_names[track.point])
        for frame, *values in _keys(track):
            time = times[frame]
            writer.writerow([*about, frame, "" if time is None else time, *values])
    return text.getvalue().encode()


def write_json(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """`tracks`: name, face, point and the keys [frame, x, y, xx, xy, yy] of each; and the plate that they belong to."""
    plate = shot.plate
    head = {
        "plate": {
            "name": plate.name,
            "width": plate.width,
            "height": plate.height,
            "pixel_aspect": plate.pixel_aspect,
            "rate": None if plate.rate is None else str(plate.rate),
        },
        "first": shot.first,
        "last": shot.last,
        "step": shot.step,
    }
    rows = [
        dumps(
            {
                "name": track.name,
                "face": track.face,
                "point": shot.layout.point_names[track.point],
                "keys": _keys(track),
            }
        )
        for track in tracks
    ]
    return dumps(head)[:-1] + b',"tracks":[\n' + b",\n".join(rows) + b"\n]}\n"


def _keys(track: Track) -> list[list[Any]]:
    positions, covariances = rounded_points(track.positions), rounded_covariances(track.covariances)
    numbers = zip(track.frames.tolist(), positions.tolist(), covariances.tolist(), strict=True)
    return [[frame, *position, *covariance] for frame, position, covariance in numbers]
