"""After Effects: keyframe data, as text to be pasted.

- Origin: the outer corner of the top-left pixel, y down: the mark (x, y) is at (x + 0.5, y + 0.5).
- Frames: from 0 on, counted from the playhead at which the text is pasted: put it on the first frame of the shot.
- Gaps: no key of the position, and keys of the opacity: 0 % where the track is not known.

Positions are of stored pixels in a composition of the plate's size and pixel aspect. In dialect 9.0 a text holds a
layer for each track, to be pasted onto as many selected layers; a text of 8.0 is for one layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shots.errors import ShotError
from shots.selection import Track
from shots.tracks import ShotTracks


def write_9(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """Dialect 9.0."""
    layers = [line for track in tracks for line in ("Layer", *_layer(shot, track))]
    return _document("9.0", shot, layers)


def write_8(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    """Dialect 8.0, for one track."""
    return _document("8.0", shot, [line for track in tracks for line in _layer(shot, track)])


def _document(dialect: str, shot: ShotTracks, layers: Sequence[str]) -> bytes:
    plate = shot.plate
    if plate.rate is None:
        raise ShotError(
            "rate_unknown", "After Effects places keys by time: give the frames per second of the sequence, --rate 24"
        )
    head = [
        f"Adobe After Effects {dialect} Keyframe Data",
        "",
        f"\tUnits Per Second\t{float(plate.rate):.6g}",
        f"\tSource Width\t{plate.width}",
        f"\tSource Height\t{plate.height}",
        f"\tSource Pixel Aspect Ratio\t{plate.pixel_aspect:.6g}",
        f"\tComp Pixel Aspect Ratio\t{plate.pixel_aspect:.6g}",
        "",
    ]
    return "\n".join([*head, *layers, "", "End of Keyframe Data", ""]).encode()


def _layer(shot: ShotTracks, track: Track) -> Iterator[str]:
    yield "Transform\tPosition"
    yield "\tFrame\tX pixels\tY pixels\tZ pixels\t"
    for frame, (x, y) in zip(track.frames, track.positions + 0.5, strict=True):
        yield f"\t{int(frame) - shot.first}\t{x:.6f}\t{y:.6f}\t0\t"
    yield ""
    opacity = dict(_opacity(shot, track))
    if 0 in opacity.values():
        yield "Transform\tOpacity"
        yield "\tFrame\tpercent\t"
        yield from (f"\t{frame - shot.first}\t{value}\t" for frame, value in opacity.items())
        yield ""


def _opacity(shot: ShotTracks, track: Track) -> Iterator[tuple[int, int]]:
    """Keys of the opacity in percent, between which it is linear: it changes within one frame of the composition."""
    if track.frames[0] > shot.first:
        yield shot.first, 0
    for run in track.runs(shot.step):
        start, end = int(track.frames[run.start]), int(track.frames[run.stop - 1])
        if start > shot.first:
            yield start - 1, 0
        yield start, 100
        yield end, 100
        if end < shot.last:
            yield end + 1, 0
    if track.frames[-1] < shot.last:
        yield shot.last, 0
