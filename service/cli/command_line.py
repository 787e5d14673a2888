"""The command line of `landmarks`: what is typed -> a command with its arguments, validated.

Flags of settings and options are derived from `Settings` and `Options` (`service.cli.flags`).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.cli.flags import HelpFormatter, add_flag, add_flags, fail, flag, given, validated
from service.limits import IMAGE_FORMATS_TEXT
from service.request import Options, refusal
from service.settings import GROUPS, NetworkSettings, Settings, variable
from service.wire.text import TEXT_OPTIONS, TextOption, field_schemas
from shots.exporters import EXPORTERS
from shots.run import DEFAULT_SEARCH_INTERVAL

_EXAMPLES = """\
examples:
  landmarks serve                                       REST on 127.0.0.1:8080, gRPC on :8081
  landmarks serve --triton-url triton:8001              with a Triton that is already running
  landmarks doctor                                      what is missing for that, and what to do
  landmarks tune -o tuned.env                           the fastest settings on this machine
  landmarks detect photo.jpg --overlay out.png          JSON, and the points drawn in out.png
  landmarks detect *.jpg --url http://127.0.0.1:8080    by a service that is already running
  landmarks detect shots/ --out faces.csv --resume      a folder; continued after an interruption
  landmarks track plate.####.exr -o shot.tracks.json    the faces of a shot through its frames
  landmarks probe grpc://127.0.0.1:8081                 whether a running service answers a portrait
  landmarks export-tracks shot.tracks.json --format nuke -o shot.nk
"""
_SERVE = """\
Starts Triton and serves REST and gRPC until Ctrl-C or SIGTERM. Once they are
ready, it prints a curl line to try.

Every flag is also a variable of the environment: --log-format is
LANDMARKS_LOG_FORMAT. The flag wins.
"""
_DETECT = """\
Prints one line of JSON for each image. Starts Triton for the call, unless --url
or --triton-url names one that is already running, or --engine local does without.
An image that fails does not stop the others; the exit status is 1 then, as it is
where a part of a folder cannot be read. What else is left out of a folder is told.

Variables of the environment (landmarks serve --help) set limits and timeouts, and
LANDMARKS_API_KEY is the key that the service at --url requires.
"""
_DOCTOR = """\
Prints one line for each thing that `landmarks serve` with the same flags and
variables of the environment needs, and what to do where it is missing; in a
checkout with Docker also what Compose needs. The exit status is 1 where there is
something to do.
"""
_TUNE = """\
Measures how many faces a second this machine answers with different threads of
the network, crops beside each other, calls to Triton and threads for images, and
writes those values that are clearly faster than the defaults as variables of the
environment. It starts what `landmarks serve` would start, again and again, for
about five minutes; nothing else should be busy meanwhile. What a flag or a
variable sets already is left as it is. Each line of the table is one combination.

The 8-bit network is measured as well, where it is there. Because its answers differ
a little, the file has it as a comment: remove the # to use it.

The file is one of lines NAME=VALUE, as shells, systemd and Docker read them; for
Compose, write it to deploy/tuned.env.

examples:
  landmarks tune -o tuned.env
  set -a; . ./tuned.env; set +a; landmarks serve
  landmarks tune -o deploy/tuned.env --overwrite        for Compose
  landmarks tune -o tuned.env --clients 1               for a lone client
"""
_TRACK = """\
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
_MERGE = """\
Joins the raw tracks of the parts of a shot, which landmarks track --chunk has
written, to the tracks of the shot: faces get their numbers and are smoothed here.

example:
  landmarks merge part*.raw.jsonl -o shot.tracks.json
"""
_PROBE = """\
Asks each service for the landmarks of a portrait, and prints a line for each; the
exit status is 1 where one of them does not answer rightly. With --port it asks again
and again until it is stopped, and serves the results as metrics for Prometheus.

LANDMARKS_API_KEY is the key, where the service requires one.
"""
_EXPORT_TRACKS = """\
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
_NEW_KEY = """\
Prints a new key, which is stored nowhere, and the line that admits it:
landmarks keys new ana >> keys.txt, then landmarks serve --api-keys-file keys.txt.
"""


_NOT_OF_A_SHOT: Final = ("box", "omit")
"""Options of a request that make no sense for all frames of a shot."""


class OutputArguments(BaseModel):
    """Output"""

    model_config = ConfigDict(frozen=True)

    out: Path | None = Field(None, description="File to write instead of standard output.")
    format: Literal["jsonl", "csv", "json"] | None = Field(
        None, description="By default what the name of the output file ends with, else jsonl."
    )
    resume: bool = Field(False, description="Continue the output file: the images that it holds are not sent again.")
    overlay: Path | None = Field(
        None, description="Draw the points into this image; of several images, into PATH with their names added."
    )
    overwrite: bool = Field(False, description="Replace the files of --out and --overlay that exist.")
    concurrency: int = Field(4, ge=1, description="Images processed at a time.")


class TlsArguments(BaseModel):
    """TLS of the service"""

    model_config = ConfigDict(frozen=True)

    ca: Path | None = Field(None, description="PEM file of the authorities that its certificate may come from.")
    cert: Path | None = Field(None, description="PEM file of your own certificate, where the service requires one.")
    key: Path | None = Field(None, description="PEM file of the private key of --cert.")


class ServiceArguments(TlsArguments):
    """A service that is already running"""

    url: str | None = Field(
        None, description="Its address: http://127.0.0.1:8080 or grpc://127.0.0.1:8081; https:// or grpcs:// with TLS."
    )


class ProbeArguments(BaseModel):
    """Questions"""

    model_config = ConfigDict(frozen=True)

    timeout: float = Field(10.0, gt=0, description="Seconds for an answer.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics; 0 takes a free one. Unset: asks once and ends."
    )
    host: str = Field("127.0.0.1", description="Address that the port listens on.")
    interval: float = Field(30.0, gt=0, description="Seconds between two questions.")


def _checked_rate(text: str) -> str:
    try:
        if not text.isascii() or Fraction(text) <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be a number above 0 such as 24 or 24000/1001") from None
    return text


def _checked_faces(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise ValueError("must be numbers of faces such as 1,3")
    return text


FaceNumbers: TypeAlias = Annotated[str, AfterValidator(_checked_faces)]
"""Numbers of faces, separated by commas."""
Rate: TypeAlias = Annotated[str, AfterValidator(_checked_rate)]
"""Frames per second as text that `Fraction` reads: 24, 23.976 or 24000/1001."""


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
        description="Of so many frames in a row the first and the last are searched for faces, which are followed "
        "through those between if both show the same ones; 1 searches every frame.",
    )
    concurrency: int = Field(4, ge=1, le=64, description="Images asked about side by side.")


class TuneArguments(BaseModel):
    """Measurements"""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(description="File to write: tuned.env.", json_schema_extra={"short": "-o"})
    overwrite: bool = Field(False, description="Replace the file if it exists.")
    clients: int = Field(16, ge=1, le=256, description="Clients that send one face after the other.")
    rounds: int = Field(3, ge=1, description="Measurements of each combination, of which the median counts.")
    seconds: float = Field(3.0, gt=0, description="Seconds of each measurement; half as many more to warm up.")


class MergeArguments(BaseModel):
    """Output"""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(description="File to write: shot.tracks.json.", json_schema_extra={"short": "-o"})
    allow_missing: bool = Field(False, description="Missing frames are no failure.")
    overwrite: bool = Field(False, description="Replace the output if it exists.")


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
class Serve:
    """`landmarks serve`"""

    settings: Settings


@dataclass(frozen=True)
class Detect:
    """`landmarks detect`"""

    images: list[Path]
    """Files, folders and globs, as they were typed."""
    options: Options
    output: OutputArguments
    service: ServiceArguments
    settings: Settings


@dataclass(frozen=True)
class Track:
    """`landmarks track`"""

    name: str
    """The sequence or the video, as it was typed."""
    shot: ShotArguments
    options: Options
    output: TrackOutput
    service: ServiceArguments
    settings: Settings


@dataclass(frozen=True)
class Merge:
    """`landmarks merge`"""

    parts: list[Path]
    output: MergeArguments


@dataclass(frozen=True)
class ExportTracks:
    """`landmarks export-tracks`"""

    tracks: Path
    export: ExportArguments


@dataclass(frozen=True)
class NewKey:
    """`landmarks keys new`"""

    name: str


@dataclass(frozen=True)
class Doctor:
    """`landmarks doctor`"""

    settings: Settings


@dataclass(frozen=True)
class Tune:
    """`landmarks tune`"""

    arguments: TuneArguments
    settings: Settings


@dataclass(frozen=True)
class Probe:
    """`landmarks probe`"""

    urls: list[str]
    arguments: ProbeArguments
    tls: TlsArguments


Command: TypeAlias = "Serve | Detect | Track | Merge | ExportTracks | NewKey | Doctor | Tune | Probe"


def parse(argv: Sequence[str] | None = None) -> Command:
    """The command that is typed (None: in `sys.argv`). Where it makes no sense, says so and raises SystemExit(2)."""
    arguments = _parser().parse_args(_with_joined_boxes(sys.argv[1:] if argv is None else argv))
    command: Command = arguments.command(arguments)
    return command


def _with_joined_boxes(argv: Sequence[str]) -> list[str]:
    """`--box -5,0,90,120` as `--box=-5,0,90,120`: argparse takes a list that begins with a minus sign for a flag."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1] == "--box" and re.match(r"-[\d.]", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _serve(arguments: argparse.Namespace) -> Serve:
    return Serve(_settings(given(arguments, Settings)))


def _doctor(arguments: argparse.Namespace) -> Doctor:
    return Doctor(_settings(given(arguments, Settings)))


def _tune(arguments: argparse.Namespace) -> Tune:
    return Tune(
        validated(TuneArguments, given(arguments, TuneArguments)),
        _settings(given(arguments, NetworkSettings)),
    )


def _detect(arguments: argparse.Namespace) -> Detect:
    if "" in arguments.images:  # Path("") is the current folder
        fail("image: must not be empty")
    return Detect(
        [Path(image) for image in arguments.images],
        _options(given(arguments, Options)),
        validated(OutputArguments, given(arguments, OutputArguments)),
        validated(ServiceArguments, given(arguments, ServiceArguments)),
        _settings(given(arguments, NetworkSettings)),
    )


def _track(arguments: argparse.Namespace) -> Track:
    return Track(
        arguments.shot,
        validated(ShotArguments, given(arguments, ShotArguments)),
        _options(given(arguments, Options)),
        validated(TrackOutput, given(arguments, TrackOutput)),
        validated(ServiceArguments, given(arguments, ServiceArguments)),
        _settings(given(arguments, NetworkSettings)),
    )


def _merge(arguments: argparse.Namespace) -> Merge:
    return Merge([Path(part) for part in arguments.parts], validated(MergeArguments, given(arguments, MergeArguments)))


def _probe(arguments: argparse.Namespace) -> Probe:
    return Probe(
        arguments.urls,
        validated(ProbeArguments, given(arguments, ProbeArguments)),
        validated(TlsArguments, given(arguments, TlsArguments)),
    )


def _export_tracks(arguments: argparse.Namespace) -> ExportTracks:
    return ExportTracks(Path(arguments.tracks), validated(ExportArguments, given(arguments, ExportArguments)))


def _settings(flags: dict[str, Any]) -> Settings:
    return validated(Settings, flags, lambda name: flag(name) if name in flags else variable(name))


def _options(flags: dict[str, Any]) -> Options:
    try:
        return Options(**flags)
    except ValidationError as error:
        (name,) = (name for name, option in TEXT_OPTIONS.items() if option.field == error.errors()[0]["loc"][0])
        hint = TEXT_OPTIONS[name].hint
        fail(f"{flag(name)}: {refusal(error).message}" + (f". {hint}" if hint else ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "landmarks",
        description="Finds the sub-pixel landmarks of every face in an image, each with its uncertainty.",
        epilog=_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(command=_needs_a_command(parser))
    commands = parser.add_subparsers(metavar="command")
    serve = _add_command(commands, "serve", _serve, "serve REST and gRPC until Ctrl-C or SIGTERM", _SERVE, "[flags]")
    for group in GROUPS:
        add_flags(serve, group)
    doctor = _add_command(commands, "doctor", _doctor, "check what an installation needs", _DOCTOR, "[flags]")
    for group in GROUPS:
        add_flags(doctor, group)
    tune = _add_command(commands, "tune", _tune, "measure the fastest settings", _TUNE, "-o tuned.env [flags]")
    add_flags(tune, TuneArguments)
    add_flags(tune, NetworkSettings)
    detect = _add_command(
        commands, "detect", _detect, "the landmarks of images, as JSON or CSV", _DETECT, "image [image ...] [flags]"
    )
    detect.add_argument(
        "images",
        nargs="+",
        metavar="image",
        help=f"{IMAGE_FORMATS_TEXT} file; or a folder, with all below it; or a glob such as 'shots/**/*.png'",
    )
    _add_options(detect, TEXT_OPTIONS)
    for model in (OutputArguments, ServiceArguments, NetworkSettings):
        add_flags(detect, model)
    track = _add_command(
        commands, "track", _track, "the tracks of a shot's faces", _TRACK, "shot -o shot.tracks.json [flags]"
    )
    track.add_argument("shot", help="pattern or folder of a sequence of image files, or a video")
    add_flags(track, TrackOutput)
    add_flags(track, ShotArguments)
    _add_options(track, {name: option for name, option in TEXT_OPTIONS.items() if name not in _NOT_OF_A_SHOT})
    for model in (ServiceArguments, NetworkSettings):
        add_flags(track, model)
    merge = _add_command(
        commands, "merge", _merge, "the tracks of a shot, from those of its parts", _MERGE, "part [part ...] -o PATH"
    )
    merge.add_argument("parts", nargs="+", metavar="part", help="file that `landmarks track --chunk` has written")
    add_flags(merge, MergeArguments)
    probe = _add_command(
        commands, "probe", _probe, "ask a running service, as a client does", _PROBE, "url [url ...] [flags]"
    )
    probe.add_argument("urls", nargs="+", metavar="url", help="http://host:port, https://, grpc:// or grpcs://")
    add_flags(probe, ProbeArguments)
    add_flags(probe, TlsArguments)
    formats = "\n".join(f"  {name:16} {exporter.summary}" for name, exporter in EXPORTERS.items())
    export = _add_command(
        commands,
        "export-tracks",
        _export_tracks,
        "the tracks of a shot, for a VFX package",
        _EXPORT_TRACKS.format(formats=formats),
        "shot.tracks.json --format FORMAT -o PATH [flags]",
    )
    export.add_argument("tracks", metavar="shot.tracks.json", help="file that `landmarks track` has written")
    add_flags(export, ExportArguments)
    about = "API keys, without which clients on other machines are refused: `landmarks keys new NAME` creates one."
    keys = commands.add_parser("keys", help="API keys", description=about, formatter_class=HelpFormatter)
    keys.set_defaults(command=_needs_a_command(keys))
    new = _add_command(keys.add_subparsers(metavar="command"), "new", _new_key, "create a key", _NEW_KEY, "name")
    new.add_argument("name", help="whose key it is: letters, digits, dots, dashes and underscores")
    return parser


def _needs_a_command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Command]:
    """For `landmarks` alone: prints the help, and exits with status 2 as any incomplete command line does."""

    def print_help(_: argparse.Namespace) -> Command:
        parser.print_help(sys.stderr)
        raise SystemExit(2)

    return print_help


def _new_key(arguments: argparse.Namespace) -> NewKey:
    return NewKey(arguments.name)


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], Command],
    summary: str,
    description: str,
    usage: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        usage=f"%(prog)s {usage}",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    return parser


def _add_options(parser: argparse.ArgumentParser, options: Mapping[str, TextOption]) -> None:
    """A flag for each of these options of a request."""
    group = parser.add_argument_group("Options of the request")
    schemas = field_schemas(Options)
    for name, option in options.items():
        how: dict[str, Any] = {"type": option.parse}
        if option.repeated:
            how |= {"action": "append", "metavar": "x1,y1,x2,y2"}
        add_flag(group, name, option.field, schemas[option.field], option.hint, **how)
