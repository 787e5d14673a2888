"""Nuke: a Tracker4 node, and ascii files as the Tracker imports and exports them.

- Origin: the outer corner of the bottom-left pixel of the display window; y points up. The centre of a pixel is half a
  pixel from its corner, so the mark (x, y) is at (x + 0.5, H - (y + 0.5)).
- Frames: their own numbers, negative ones too.
- Gaps: Tracker4 has no keys there, and `enable` is 0; ascii files have no line.

Pixels are stored pixels: a format in Nuke has the pixel aspect that the plate has.

The curves of a Tracker4 name the frame of every key. Nuke repeats the distance between the last two keys where one has
no frame, which is not 1 after a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from shots.selection import Track
from shots.tracks import Floats, ShotTracks

_COLUMNS: Final = (
    *("5 1 20 enable e 1", "3 1 75 name name 1"),
    *("2 1 58 track_x track_x 1", "2 1 58 track_y track_y 1"),
    *("2 1 63 offset_x offset_x 1", "2 1 63 offset_y offset_y 1"),
    *("4 1 27 T T 1", "4 1 27 R R 1", "4 1 27 S S 1"),
    *("2 0 45 error error 1", "1 1 0 error_min error_min 1", "1 1 0 error_max error_max 1"),
    *(f"1 1 0 pattern_{side} pattern_{side} 1" for side in "xyrt"),
    *(f"1 1 0 search_{side} search_{side} 1" for side in "xyrt"),
    "2 1 0 key_track key_track 1",
    *(f"2 1 0 key_search_{side} key_search_{side} 1" for side in "xyrt"),
    *(f"2 1 0 key_track_{side} key_track_{side} 1" for side in "xyrt"),
    *(f"2 1 0 key_centre_offset_{side} key_centre_offset_{side} 1" for side in "xy"),
)
"""The 31 columns of a Tracker4's table, which the node repeats in its file."""
_AFTER_POSITION: Final = "{} {} 1 0 0 {} 1 0 -16 -16 16 16 -32 -32 32 32" + " {}" * 11
"""Columns 5 to 31 of a track: no offset; used for translation alone; no error; the boxes of pattern and search; no
keyframes of the pattern."""


def positions(shot: ShotTracks, track: Track) -> Floats:
    """[F, 2] as Nuke, 3DEqualizer and USD count."""
    return track.positions * [1.0, -1.0] + [0.5, shot.plate.height - 0.5]


def write_tracker(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """A script with one Tracker4 node, to be opened, imported or pasted."""
    lines = [
        "set cut_paste_input [stack 0]",
        "version 12.0 v1",
        "push $cut_paste_input",
        "Tracker4 {",
        f"tracks {{ {{ 1 {len(_COLUMNS)} {len(tracks)} }}",
        "{ " + "\n".join(f"{{ {column} }}" for column in _COLUMNS),
        "}",
        "{",
        *(_row(shot, track) for track in tracks),
        "}",
        "}",
        "name Landmarks",
        "}",
    ]
    return "\n".join([*lines, ""]).encode()


def _row(shot: ShotTracks, track: Track) -> str:
    x, y = (
        "{curve " + " ".join(f"x{frame} {value:.6f}" for frame, value in zip(track.frames, values, strict=True)) + "}"
        for values in positions(shot, track).T
    )
    enable = "{curve K " + " ".join(f"x{frame} {value}" for frame, value in _enabled(shot, track)) + "}"
    return f'{{ {enable} "{track.name}" {x} {y} {_AFTER_POSITION} }}'


def _enabled(shot: ShotTracks, track: Track) -> Iterator[tuple[int, int]]:
    """Keys of the constant curve that is 1 where the track is known."""
    if track.frames[0] > shot.first:
        yield shot.first, 0
    for run in track.runs(shot.step):
        yield int(track.frames[run.start]), 1
        after = int(track.frames[run.stop - 1]) + shot.step
        if after <= shot.last:
            yield after, 0


def write_ascii(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """`frame,x,y`: a file holds one track."""
    rows: Iterable[str] = (
        f"{frame},{x:.6f},{y:.6f}\n"
        for track in tracks
        for frame, (x, y) in zip(track.frames, positions(shot, track), strict=True)
    )
    return "".join(rows).encode()
