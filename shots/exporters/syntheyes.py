"""SynthEyes: 2-D paths.

- Origin: the centre of the image; the centres of the first and of the last pixel of a row are at -1 and 1, those of a
  column too, and v points down. The mark (x, y) is at (2 x / (W - 1) - 1, 2 y / (H - 1) - 1).
- Frames: from 0 on.
- Gaps: no line. The last number of a line is the outcome: 15 (a key) where a path starts, also after a gap, else 7.

The lines of a track follow each other: `name frame u v outcome`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shots.errors import ShotError
from shots.selection import Track
from shots.tracks import ShotTracks

_KEY: Final = 15
_TRACKED: Final = 7


def write(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    plate = shot.plate
    if min(plate.width, plate.height) < 2:
        raise ShotError("plate_too_small", "SynthEyes counts from the first pixel to the last: a plate needs 2 of them")
    lines = []
    for track in tracks:
        starts = {run.start for run in track.runs(shot.step)}
        uv = 2 * track.positions / np.array([plate.width - 1, plate.height - 1]) - 1
        lines += [
            f"{track.name} {shot.index(int(frame))} {u:.9f} {v:.9f} {_KEY if i in starts else _TRACKED}\n"
            for i, (frame, (u, v)) in enumerate(zip(track.frames, uv, strict=True))
        ]
    return "".join(lines).encode()
