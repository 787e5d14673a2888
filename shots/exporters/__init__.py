"""Exporters: the chosen tracks of a shot as the file of a package.

`docs/vfx.md` shows with a picture where a mark lies in each; the module of each states its rule:

- the origin: the corner or the pixel centre that counts as 0, and whether y points up;
- the frame base: the number that the first frame of the shot gets;
- how a gap stays a gap.

Coordinates of `shots.tracks` are relative to the display window, and so are those of all files but Blender's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from shots.errors import ShotError
from shots.exporters import after_effects, blender, equalizer, nuke, pftrack, syntheyes, tables
from shots.selection import Track
from shots.tracks import ShotTracks

Writer: TypeAlias = Callable[[ShotTracks, Sequence[Track]], bytes]
"""The content of a file. Raises ShotError where the package could not hold such tracks."""


@dataclass(frozen=True)
class Exporter:
    """One kind of file."""

    summary: str
    """For the help of the command line."""
    suffix: str
    write: Writer
    per_track: bool = False
    """Whether a file holds one track, so that several make a folder."""


def _usd(shot: ShotTracks, tracks: Sequence[Track]) -> bytes:
    try:
        from shots.exporters import usd  # the extra `usd`
    except ImportError as error:
        raise ShotError(
            "package_missing", f"USD needs {error.name}, which is not installed: pip install 'h3r-landmarks[usd]'"
        ) from error
    return usd.write(shot, tracks)


EXPORTERS: Final[Mapping[str, Exporter]] = {
    "nuke": Exporter("Nuke, a Tracker4 node to open or to paste", ".nk", nuke.write_tracker),
    "nuke-ascii": Exporter("Nuke, a file of frame,x,y for each track", ".txt", nuke.write_ascii, per_track=True),
    "3de": Exporter("3DEqualizer 4, 2-D tracks", ".txt", equalizer.write),
    "pftrack": Exporter("PFTrack 2011 and later, 2-D tracks", ".txt", pftrack.write),
    "pftrack5": Exporter("PFTrack 5, 2-D tracks", ".2dt", pftrack.write_5),
    "syntheyes": Exporter("SynthEyes, 2-D paths", ".txt", syntheyes.write),
    "after-effects": Exporter(
        "After Effects, keyframe data 9.0: a layer for each track", ".txt", after_effects.write_9
    ),
    "after-effects-8": Exporter(
        "After Effects, keyframe data 8.0: a file for each track", ".txt", after_effects.write_8, per_track=True
    ),
    "blender": Exporter("Blender, a script that adds the tracks to a movie clip", ".py", blender.write),
    "usd": Exporter("USD, animated points for each face", ".usda", _usd),
    "csv": Exporter("CSV, a row for each point in each frame, with covariances", ".csv", tables.write_csv),
    "json": Exporter("JSON, the keys of each track, with covariances", ".json", tables.write_json),
}
"""By the name that the command line takes."""


def export(name: str, shot: ShotTracks, tracks: Sequence[Track], stem: str) -> dict[str, bytes]:
    """The files of an export by their names: `stem` with the suffix, or one named after each track.

    `name`: a key of EXPORTERS. Raises ShotError where the package could not hold such tracks.
    """
    exporter = EXPORTERS[name]
    if exporter.per_track:
        return {track.name + exporter.suffix: exporter.write(shot, [track]) for track in tracks}
    return {stem + exporter.suffix: exporter.write(shot, tracks)}
