"""`landmarks-train`: runs a command of `train.commands`, and prints what the user can correct as one line."""

from __future__ import annotations

import sys

from landmarks.codec import CodecError
from landmarks.metadata import MetadataError
from landmarks.repository import RepositoryError
from landmarks.runtime import NetworkError
from train.commands.command_line import parse
from train.errors import TrainError


def main() -> int:
    """Runs the command of the command line. Returns the exit status: 1 for an error that the user can correct."""
    invocation = None
    try:
        invocation = parse(sys.argv[1:])
        invocation.execute()
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("landmarks", "train"):
            raise
        packages = "pip install -e '.[train]' in the project's checkout"
        print(f"landmarks-train: {error.name} is not installed: {packages}", file=sys.stderr)
        return 1
    except (TrainError, CodecError, MetadataError, NetworkError, RepositoryError) as error:
        print(f"landmarks-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        resumable = ""
        if invocation and "resume" in invocation.arguments:
            resumable = f"; {invocation.name} --resume continues from the last finished epoch"
        print(f"\nlandmarks-train: stopped{resumable}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
