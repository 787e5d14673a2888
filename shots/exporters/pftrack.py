"""PFTrack: 2-D tracks, in the dialect of version 5 and in that of 2011 and later.

- Origin: the centre of the bottom-left pixel, y up: the mark (x, y) is at (x, H - 1 - y).
- Frames: from 0 on in version 5, from 1 on since 2011.
- Gaps: no line.

Of each track after two empty lines: its name and its camera in quotes, the number of its lines, and the lines
`frame x y residual`. The camera is "Primary" in version 5, whose lines end with CR LF, and 1 later. Version 4 had none:
delete those lines for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from shots.selection import Track
from shots.tracks import ShotTracks


def write(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """PFTrack 2011 and later."""
    return _file(shot, tracks, camera="1", base=1, end="\n")


def write_5(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """PFTrack 5."""
    return _file(shot, tracks, camera='"Primary"', base=0, end="\r\n")


def _file(shot: ShotTracks, tracks: Sequence[Track], *, camera: str, base: int, end: str) -> bytes:
    lines: list[str] = []
    for track in tracks:
        lines += ["", "", f'"{track.name}"', camera, str(len(track.frames))]
        lines += [
            f"{shot.index(int(frame)) + base} {x:.6f} {shot.plate.height - 1 - y:.6f} 0.000"
            for frame, (x, y) in zip(track.frames, track.positions, strict=True)
        ]
    return end.join([*lines, ""]).encode()
