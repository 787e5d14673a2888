"""The command line of `landmarks`: what is typed -> a command with its arguments, validated.

`service/cli/arguments/` has a module for each command. Flags of settings and options are derived from `Settings` and
`Options` (`service.cli.flags`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final

from service.cli.arguments import detect, doctor, export_tracks, keys, merge, probe, serve, track, tune
from service.cli.arguments.common import with_joined_boxes
from service.cli.arguments.subcommand import Command, Subparsers, add_subparsers
from service.cli.flags import HelpFormatter

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

COMMANDS: Final[Sequence[Callable[[Subparsers], None]]] = (
    serve.add_to,
    doctor.add_to,
    tune.add_to,
    detect.add_to,
    track.add_to,
    merge.add_to,
    probe.add_to,
    export_tracks.add_to,
    keys.add_to,
)
"""Adds each command, in the order of the help."""


def parse(argv: Sequence[str] | None = None) -> Command:
    """The command that is typed (None: in `sys.argv`). Where it makes no sense, says so and raises SystemExit(2)."""
    arguments = _parser().parse_args(with_joined_boxes(sys.argv[1:] if argv is None else argv))
    command: Command = arguments.read(arguments)
    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "landmarks",
        description="Finds the sub-pixel landmarks of every face in an image, each with its uncertainty.",
        epilog=_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    commands = add_subparsers(parser)
    for add in COMMANDS:
        add(commands)
    return parser
