"""What `landmarks keys new` takes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from service.cli.arguments.subcommand import Command, Subparsers, add_command, add_subparsers
from service.cli.flags import HelpFormatter

_ABOUT = "API keys, without which clients on other machines are refused: `landmarks keys new NAME` creates one."
_NEW = """\
Prints a new key, which is stored nowhere, and the line that admits it:
landmarks keys new ana >> keys.txt, then landmarks serve --api-keys-file keys.txt.
"""


@dataclass(frozen=True)
class NewKey(Command):
    """`landmarks keys new`"""

    name: str


def add_to(commands: Subparsers) -> None:
    """Adds `keys`, and `new` below it."""
    keys = commands.add_parser("keys", help="API keys", description=_ABOUT, formatter_class=HelpFormatter)
    new = add_command(add_subparsers(keys), "new", _read, "create a key", _NEW, "name")
    new.add_argument("name", help="whose key it is: letters, digits, dots, dashes and underscores")


def _read(arguments: argparse.Namespace) -> NewKey:
    return NewKey(arguments.name)
