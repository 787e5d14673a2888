"""3DEqualizer 4: 2-D tracks as ascii.

- Origin: the outer corner of the bottom-left pixel, y up, as Nuke's.
- Frames: 1 is the first frame of the sequence, whatever number its file has.
- Gaps: no line.

The file: the number of tracks; of each its name, its colour, the number of its lines, and the lines `frame x y`.
Numbers have no exponent.
"""

from __future__ import annotations

from collections.abc import Sequence

from shots.exporters.nuke import positions
from shots.selection import Track
from shots.tracks import ShotTracks


def write(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    lines = [str(len(tracks))]
    for track in tracks:
        lines += [track.name, "0", str(len(track.frames))]
        lines += [
            f"{shot.index(int(frame)) + 1} {x:.9f} {y:.9f}"
            for frame, (x, y) in zip(track.frames, positions(shot, track), strict=True)
        ]
    return "\n".join([*lines, ""]).encode()
