"""A command of `landmarks`: what it is once its arguments are read, and how its parser is added."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from service.cli.flags import HelpFormatter

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where the parsers of commands are added."""


@dataclass(frozen=True)
class Command:
    """A command with its arguments, validated; each command derives from it."""


def add_command(
    commands: Subparsers,
    name: str,
    read: Callable[[argparse.Namespace], Command],
    summary: str,
    description: str,
    usage: str,
) -> argparse.ArgumentParser:
    """The parser of a command, without arguments yet.

    `read`: what is parsed -> the command; where it makes no sense, says so and raises SystemExit(2). `summary`: its
    line in the list of commands. `usage`: what follows its name.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        usage=f"%(prog)s {usage}",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(read=read)
    return parser


def add_subparsers(parser: argparse.ArgumentParser) -> Subparsers:
    """For commands below `parser`. Without one of them it prints its help, and exits with status 2 as any incomplete
    command line does.
    """

    def print_help(_: argparse.Namespace) -> Command:
        parser.print_help(sys.stderr)
        raise SystemExit(2)

    parser.set_defaults(read=print_help)
    return parser.add_subparsers(metavar="command")
