"""Blender: a script for its text editor that adds the tracks to a movie clip that is open.

- Origin: the outer corner of the bottom-left pixel, y up; the width and the height of the clip are 1.
- Frames: 1 is the first file of the clip; later ones count by the numbers of the files. Where the clip stands in the
  scene (`clip.frame_start`) does not matter.
- Gaps: a disabled marker on the first frame of a gap, and after the last frame of a track that ends early.

Blender does not know the display window of an EXR file: its clip is the data window. Coordinates are relative to that,
and a data window that changes within the shot is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from shots.errors import ShotError
from shots.selection import Track
from shots.tracks import ShotTracks, Window

_SCRIPT: Final = '''\
"""Adds landmark tracks to a movie clip: open the plate as a clip, then run this script in the text editor."""

import json

import bpy

CLIP = None  # the name of the clip, where several of this size are open
SIZE = {size}
# of each track: [frame, x, y], and [frame, x, y, true] where it is disabled from this frame on
TRACKS = json.loads("""{tracks}""")

clips = [clip for clip in bpy.data.movieclips if tuple(clip.size) == SIZE and CLIP in (None, clip.name)]
if len(clips) != 1:
    raise RuntimeError(f"{{len(clips)}} open clips have {{SIZE[0]}} x {{SIZE[1]}} pixels: open the plate, or set CLIP")
for name, markers in TRACKS.items():
    track = clips[0].tracking.tracks.new(name=name, frame=markers[0][0])
    for frame, x, y, *disabled in markers:
        marker = track.markers.insert_frame(frame, co=(x, y))
        marker.mute = bool(disabled)
'''


def write(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """The script. Raises ShotError of code `window_varies`."""
    plate = shot.plate
    whole: Window = (0, 0, plate.width - 1, plate.height - 1)
    windows = {frame.data_window or whole for frame in shot.frames if frame.state == "read"} or {whole}
    if len(windows) > 1:
        raise ShotError(
            "window_varies",
            f"the data window changes within the shot ({len(windows)} different ones), and Blender's clip is the data "
            "window: write the plate with a constant one, or export for another package",
        )
    ((left, top, right, bottom),) = windows
    width, height = right - left + 1, bottom - top + 1
    rows = ",\n".join(
        f"{json.dumps(track.name)}:{json.dumps([*_markers(shot, track, left, top, width, height)])}" for track in tracks
    )
    return _SCRIPT.format(size=(width, height), tracks=f"{{\n{rows}\n}}").encode()


def _markers(
    shot: ShotTracks, track: Track, left: int, top: int, width: int, height: int
) -> Iterator[tuple[int, float, float] | tuple[int, float, float, bool]]:
    xy = (track.positions - [left, top] + 0.5) / [width, height]
    for run in track.runs(shot.step):
        for frame, (x, y) in zip(track.frames[run].tolist(), xy[run].tolist(), strict=True):
            yield frame - shot.first + 1, round(x, 9), round(1 - y, 9)
        if frame < shot.last:
            yield frame + 1 - shot.first + 1, round(x, 9), round(1 - y, 9), True
