"""What `landmarks doctor` takes: every setting."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from service.cli.arguments.common import read_settings
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags
from service.settings import GROUPS, Settings

_DESCRIPTION = """\
Prints one line for each thing that `landmarks serve` with the same flags and
variables of the environment needs, and what to do where it is missing; in a
checkout with Docker also what Compose needs. The exit status is 1 where there is
something to do.
"""


@dataclass(frozen=True)
class Doctor(Command):
    """`landmarks doctor`"""

    settings: Settings


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(commands, "doctor", _read, "check what an installation needs", _DESCRIPTION, "[flags]")
    for group in GROUPS:
        add_flags(parser, group)


def _read(arguments: argparse.Namespace) -> Doctor:
    return Doctor(read_settings(arguments, Settings))
