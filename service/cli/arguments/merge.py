"""What `landmarks merge` takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags, given, validated

_DESCRIPTION = """\
Joins the raw tracks of the parts of a shot, which landmarks track --chunk has
written, to the tracks of the shot: faces get their numbers and are smoothed here.

example:
  landmarks merge part*.raw.jsonl -o shot.tracks.json
"""


class MergeArguments(BaseModel):
    """Output"""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(description="File to write: shot.tracks.json.", json_schema_extra={"short": "-o"})
    allow_missing: bool = Field(False, description="Missing frames are no failure.")
    overwrite: bool = Field(False, description="Replace the output if it exists.")


@dataclass(frozen=True)
class Merge(Command):
    """`landmarks merge`"""

    parts: list[Path]
    output: MergeArguments


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "merge",
        _read,
        "the tracks of a shot, from those of its parts",
        _DESCRIPTION,
        "part [part ...] -o PATH",
    )
    parser.add_argument("parts", nargs="+", metavar="part", help="file that `landmarks track --chunk` has written")
    add_flags(parser, MergeArguments)


def _read(arguments: argparse.Namespace) -> Merge:
    return Merge([Path(part) for part in arguments.parts], validated(MergeArguments, given(arguments, MergeArguments)))
