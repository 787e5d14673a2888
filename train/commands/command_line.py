"""How a command of `landmarks-train` introduces itself."""

from __future__ import annotations

import argparse
import textwrap


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, more: str, example: str
) -> argparse.ArgumentParser:
    """A command whose help says what it is `about` (a line, which the list of all commands has too) and `more` than
    that, and shows one `example` of its arguments.
    """
    return commands.add_parser(
        name,
        help=about,
        description=textwrap.fill(f"{about[0].upper()}{about[1:]}. {more}", 100),
        epilog=f"example:\n  landmarks-train {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
