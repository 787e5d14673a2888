"""What `landmarks tune` takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from service.cli.arguments.common import read_settings
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags, given, validated
from service.settings import NetworkSettings, Settings

_DESCRIPTION = """\
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


class TuneArguments(BaseModel):
    """Measurements"""

    model_config = ConfigDict(frozen=True)

    out: Path = Field(description="File to write: tuned.env.", json_schema_extra={"short": "-o"})
    overwrite: bool = Field(False, description="Replace the file if it exists.")
    clients: int = Field(16, ge=1, le=256, description="Clients that send one face after the other.")
    rounds: int = Field(3, ge=1, description="Measurements of each combination, of which the median counts.")
    seconds: float = Field(3.0, gt=0, description="Seconds of each measurement; half as many more to warm up.")


@dataclass(frozen=True)
class Tune(Command):
    """`landmarks tune`"""

    arguments: TuneArguments
    settings: Settings


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(commands, "tune", _read, "measure the fastest settings", _DESCRIPTION, "-o tuned.env [flags]")
    for model in (TuneArguments, NetworkSettings):
        add_flags(parser, model)


def _read(arguments: argparse.Namespace) -> Tune:
    return Tune(
        validated(TuneArguments, given(arguments, TuneArguments)),
        read_settings(arguments, NetworkSettings),
    )
