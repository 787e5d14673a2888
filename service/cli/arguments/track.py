"""What `landmarks track` takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from service.cli.arguments.common import Rate, ServiceArguments, add_options, read_options, read_settings
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags, given, validated
from service.request import Options
from service.settings import NetworkSettings, Settings
from service.wire.text import TEXT_OPTIONS
from shots.run import DEFAULT_SEARCH_INTERVAL

_DESCRIPTION = """\
Follows the 98 points of every face through a shot. A shot is a sequence, named by
its pattern (plate.####.exr, plate.%04d.exr, plate.1001-1050#.exr) or its folder, or
a video. The tracks hold the points as found in each frame (raw) and smoothed ones.
landmarks export-tracks writes them for Nuke and other packages.

The exit status is 1 where a frame is missing (unless --allow-missing) or cannot be
read. Ctrl-C keeps what is done: --resume continues. Needs the extra `vfx`.

A farm tracks parts: --chunk 1001-1050 writes the raw tracks of these frames, and
landmarks merge joins the parts to what an uncut run would have written.

examples:
  landmarks track plate.####.exr -o shot.tracks.json --rate 24
  landmarks track shot.mov -o shot.tracks.json --first-frame 1001
  landmarks track plate.%04d.dpx -o shot.tracks.json --in-colorspace 'ARRI LogC3 (EI800)'
  landmarks track plate.####.exr -o shot.tracks.json --frames 1001-1050 --exposure 1.5
  landmarks track shot.mov -o shot.tracks.json --review shot.review.mp4
  landmarks track plate.####.exr -o part1.raw.jsonl --chunk 1001-1025 --url http://farm:8080
"""

_NOT_OF_A_SHOT: Final = ("box", "omit")
"""Options of a request that make no sense for all frames of a shot."""


class ShotArguments(BaseModel):
    """Shot"""

    model_config = ConfigDict(frozen=True)

    frames: str | None = Field(
        None, description="Its frames, as 1001-1050, 1001-1099x2 or 1,4,9-12. By default from the first to the last."
    )
    first_frame: int | None = Field(None, description="Number of a video's first frame. By default 1.")
    rate: Rate | None = Field(
        None, description="Frames per second, as 24 or 24000/1001. A sequence has none otherwise; a video has its own."
    )
    in_colorspace: str | None = Field(
        None,
        description="Colour space of the plate in the OpenColorIO config. Without it, files of floating-point numbers "
        "are taken for scene-linear, and others are looked at as they are.",
    )
    ocio: str | None = Field(
        None, description="OpenColorIO config: a path, or a built-in name with its version. By default a pinned one."
    )
    display: str | None = Field(None, description="Display of the config. By default its first.")
    view: str | None = Field(None, description="View of the display. By default one without tone mapping.")
    exposure: float = Field(0.0, ge=-20, le=20, description="Stops by which the plate is brightened to be looked at.")
    layer: str | None = Field(None, description="Layer of EXR files: 'beauty' for the channels beauty.R and so on.")
    part: str | None = Field(None, description="Part of multi-part EXR files, by name or number from 0 on.")
    stereo_view: str | None = Field(None, description="View of stereo EXR files: 'left' or 'right'.")


class TrackOutput(BaseModel):
    """Output"""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(description="File to write: shot.tracks.json.", json_schema_extra={"short": "-o"})
    chunk: str | None = Field(
        None, description="Track these frames of the shot only, and write raw tracks, for landmarks merge."
    )
    allow_missing: bool = Field(False, description="Missing frames are no failure.")
    resume: bool = Field(False, description="Continue an interrupted run: frames that it has done are not done again.")
    review: Path | None = Field(
        None,
        description="MP4 file to write as well: the plate with the points, their ellipses, and plots of score and "
        "flicker.",
    )
    overwrite: bool = Field(False, description="Replace files that exist.")
    search_interval: int = Field(
        DEFAULT_SEARCH_INTERVAL,
        ge=1,
        le=240,
        description="One frame of so many is searched for faces, which are followed to the next such frame if it shows "
        "the same ones; 1 searches every frame.",
    )
    concurrency: int = Field(4, ge=1, le=64, description="Images asked about side by side.")


@dataclass(frozen=True)
class Track(Command):
    """`landmarks track`"""

    name: str
    """The sequence or the video, as it was typed."""
    shot: ShotArguments
    options: Options
    output: TrackOutput
    service: ServiceArguments
    settings: Settings


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands, "track", _read, "the tracks of a shot's faces", _DESCRIPTION, "shot -o shot.tracks.json [flags]"
    )
    parser.add_argument("shot", help="pattern or folder of a sequence of image files, or a video")
    add_flags(parser, TrackOutput)
    add_flags(parser, ShotArguments)
    add_options(parser, {name: option for name, option in TEXT_OPTIONS.items() if name not in _NOT_OF_A_SHOT})
    add_flags(parser, ServiceArguments)
    add_flags(parser, NetworkSettings)


def _read(arguments: argparse.Namespace) -> Track:
    return Track(
        arguments.shot,
        validated(ShotArguments, given(arguments, ShotArguments)),
        read_options(arguments),
        validated(TrackOutput, given(arguments, TrackOutput)),
        validated(ServiceArguments, given(arguments, ServiceArguments)),
        read_settings(arguments, NetworkSettings),
    )
