"""What `landmarks export-tracks` takes."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.cli.arguments.common import Rate
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags, given, validated
from shots.exporters import EXPORTERS

_DESCRIPTION = """\
Writes tracks of `landmarks track` as a file of a VFX package. Each track is named
after its face and point: face01_right_eye_outer_corner. A gap stays a gap.

formats:
{formats}

docs/vfx.md says where the origin of each lies, how it counts frames and how it
marks gaps. A format with a file for each track takes a folder as -o.

examples:
  landmarks export-tracks shot.tracks.json --format nuke -o shot.nk
  landmarks export-tracks shot.tracks.json --format 3de --points 'jaw,nose,*_eye_*_corner' -o shot.txt
  landmarks export-tracks shot.tracks.json --format after-effects --faces 1 --rate 24 -o face.txt
"""


def _checked_faces(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise ValueError("must be numbers of faces such as 1,3")
    return text


FaceNumbers: TypeAlias = Annotated[str, AfterValidator(_checked_faces)]
"""Numbers of faces, separated by commas."""


class ExportArguments(BaseModel):
    """Export"""

    model_config = ConfigDict(frozen=True)

    format: Annotated[Literal[tuple(EXPORTERS)], Field(description="The package to write for.")]  # type: ignore[valid-type]
    out: Path = Field(
        description="File to write; or folder, for a format with a file for each track.",
        json_schema_extra={"short": "-o"},
    )
    points: str | None = Field(
        None, description="Groups, names or patterns of names of points, separated by commas. By default all."
    )
    faces: FaceNumbers | None = Field(None, description="Numbers of faces, separated by commas. By default all.")
    kind: Literal["smoothed", "raw"] = Field("smoothed", description="The smoothed points, or those of each frame.")
    rate: Rate | None = Field(
        None, description="Frames per second, as 24 or 24000/1001, instead of what the tracks say."
    )
    overwrite: bool = Field(False, description="Replace files that exist.")


@dataclass(frozen=True)
class ExportTracks(Command):
    """`landmarks export-tracks`"""

    tracks: Path
    export: ExportArguments


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    formats = "\n".join(f"  {name:16} {exporter.summary}" for name, exporter in EXPORTERS.items())
    parser = add_command(
        commands,
        "export-tracks",
        _read,
        "the tracks of a shot, for a VFX package",
        _DESCRIPTION.format(formats=formats),
        "shot.tracks.json --format FORMAT -o PATH [flags]",
    )
    parser.add_argument("tracks", metavar="shot.tracks.json", help="file that `landmarks track` has written")
    add_flags(parser, ExportArguments)


def _read(arguments: argparse.Namespace) -> ExportTracks:
    return ExportTracks(Path(arguments.tracks), validated(ExportArguments, given(arguments, ExportArguments)))
