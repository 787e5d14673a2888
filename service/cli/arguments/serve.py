"""What `landmarks serve` takes: every setting."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from service.cli.arguments.common import read_settings
from service.cli.arguments.subcommand import Command, Subparsers, add_command
from service.cli.flags import add_flags
from service.settings import GROUPS, Settings

_DESCRIPTION = """\
Starts Triton and serves REST and gRPC until Ctrl-C or SIGTERM. Once they are
ready, it prints a curl line to try.

Every flag is also a variable of the environment: --log-format is
LANDMARKS_LOG_FORMAT. The flag wins.
"""


@dataclass(frozen=True)
class Serve(Command):
    """`landmarks serve`"""

    settings: Settings


def add_to(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands, "serve", _read, "serve REST and gRPC until Ctrl-C or SIGTERM", _DESCRIPTION, "[flags]"
    )
    for group in GROUPS:
        add_flags(parser, group)


def _read(arguments: argparse.Namespace) -> Serve:
    return Serve(read_settings(arguments, Settings))
