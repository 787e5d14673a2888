"""The command `landmarks export-tracks`: tracks of a shot in, the files of a VFX package out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from service.cli.arguments.export_tracks import ExportTracks
from shots.errors import ShotError
from shots.exporters import EXPORTERS, export
from shots.selection import select
from shots.tracks import ShotTracks, read_tracks

USAGE_CODES: Final = frozenset(
    {"unknown_points", "unknown_face", "rate_unknown", "wrong_colour", "wrong_option", "wrong_range"}
)
"""Codes of ShotError that are about the command line: the exit status is 2 then, as for other mistakes in it."""


def export_tracks(command: ExportTracks) -> int:
    """Writes the files. Returns the exit status: 0, 1 for a failure, 2 for arguments that do not fit the tracks."""
    arguments = command.export
    try:
        shot = _with_rate(read_tracks(command.tracks.read_bytes()), command)
        points = tuple(filter(None, (arguments.points or "").split(",")))
        faces = tuple(map(int, (arguments.faces or "").split(","))) if arguments.faces else ()
        tracks = select(shot, points=points, faces=faces, kind=arguments.kind)
        files = _placed(export(arguments.format, shot, tracks, "tracks"), command)
        if not arguments.overwrite and (existing := [path for path in files if path.exists()]):
            sys.stderr.write(f"landmarks: {existing[0]} exists: add --overwrite to replace it, or choose another -o\n")
            return 1
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except ShotError as error:
        sys.stderr.write(f"landmarks: {command.tracks}: {error} ({error.code})\n")
        return 2 if error.code in USAGE_CODES else 1
    except OSError as error:
        sys.stderr.write(f"landmarks: {error.filename}: {error.strerror}\n")
        return 1
    return 0


def _with_rate(shot: ShotTracks, command: ExportTracks) -> ShotTracks:
    rate = command.export.rate
    return shot if rate is None else replace(shot, plate=replace(shot.plate, rate=Fraction(rate)))


def _placed(files: Mapping[str, bytes], command: ExportTracks) -> dict[Path, bytes]:
    """The files by where they go: `-o` itself, or in it where the format has a file for each track."""
    out = command.export.out
    if EXPORTERS[command.export.format].per_track:
        return {out / name: content for name, content in files.items()}
    (content,) = files.values()
    return {out: content}
