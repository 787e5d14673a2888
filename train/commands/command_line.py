"""The command line of `landmarks-train`: a summary of every command, and the arguments of the one that is chosen."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol, cast

from train.commands import ALIASES, COMMANDS

EPILOG: Final = """examples:
  landmarks-train fit --data faces300w:data/faces300w --config compact --out runs/compact
  torchrun --nproc-per-node 4 -m train fit --data wflw:data/wflw --weights hrnet_w18.pth --out runs/hrnet_w18
  landmarks-train evaluate --run runs/compact --data faces300w:data/faces300w --topk 1 9 --boxes P2
  landmarks-train calibrate --run runs/compact --data faces300w:data/faces300w
  landmarks-train export --run runs/compact --repository model_repo
"""


class Command(Protocol):
    """What the module of a command holds."""

    DETAILS: str
    """What its help says after the summary."""
    EXAMPLE: str
    """Arguments that can be typed as they are."""

    run: Callable[..., None]
    """Executes the command: a function with a keyword parameter for each argument that `add_arguments` declares. Raises
    TrainError for what the user can correct."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""


@dataclass(frozen=True)
class Invocation:
    """A command with its arguments."""

    name: str
    run: Callable[..., None]
    arguments: Mapping[str, Any]
    """The keyword arguments of `run`."""

    def execute(self) -> None:
        """Executes the command."""
        self.run(**self.arguments)


def parse(arguments: Sequence[str]) -> Invocation:
    """The command that is typed, with its arguments.

    Imports the module of that command and of no other, since most of them load PyTorch. Prints help or what is wrong
    and raises SystemExit as argparse does.
    """
    parser = argparse.ArgumentParser(
        prog="landmarks-train",
        description="Train, evaluate and export landmark networks by heatmap regression with randomized rounding.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((each for each in arguments if not each.startswith("-")), None)
    for name, summary in COMMANDS.items():
        aliases = [alias for alias, target in ALIASES.items() if target == name]
        command = commands.add_parser(
            name, aliases=aliases, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if chosen in (name, *aliases):
            module = load_command(name)
            command.description = textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {module.DETAILS}", 100)
            command.epilog = f"example:\n  landmarks-train {name} {module.EXAMPLE}"
            module.add_arguments(command)
            command.set_defaults(command=name, function=module.run)
    if not arguments:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    values = vars(parser.parse_args(arguments))
    return Invocation(values.pop("command"), values.pop("function"), values)


def load_command(name: str) -> Command:
    """The module of a command of COMMANDS."""
    return cast(Command, import_module(f"train.commands.{name.replace('-', '_')}"))
