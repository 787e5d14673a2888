"""Fuzzes the APIs of a service, or the image reader, for a given time.

`apis` starts `landmarks serve` with the local engine on free ports of 127.0.0.1, and sends requests that
schemathesis draws from the OpenAPI description and hypothesis from the gRPC schema, streams among them. `images`
decodes small files of every format with bytes and fields changed, in a process of its own.

A run fails (exit status 1) on a crash, a hang, any failure that is the service's own, an answer that is not as
described, and when the process has grown by more than 15 % between a third of the time and the end. The inputs of
failures are kept in a folder, and the command that repeats each of them is printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.fuzz.apis import ApiFuzzer
from tests.fuzz.images import ImageFuzzer
from tests.fuzz.run import Fuzzer, Run

FUZZERS: dict[str, type[Fuzzer]] = {each.name: each for each in (ApiFuzzer, ImageFuzzer)}


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 when something failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=FUZZERS, nargs="+", help="what is fuzzed, one after the other")
    parser.add_argument("--seconds", type=float, default=600, help="how long, each [%(default)s]")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the inputs [the time: %(default)s]")
    parser.add_argument("--folder", type=Path, default=Path("fuzz-failures"), help="of failing inputs [%(default)s]")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="only sends this input again, which was kept")
    args = parser.parse_args(arguments)
    try:
        if args.repeat:
            return repeat(args.what[0], args.repeat)
        passed = [fuzz(what, args.seconds, args.seed, args.folder) for what in args.what]
    except KeyboardInterrupt:
        return 130
    return 0 if all(passed) else 1


def repeat(what: str, path: Path) -> int:
    """Returns 1 when the input fails again."""
    with closing(FUZZERS[what]()) as fuzzer:
        outcome = fuzzer.repeat(path)
    print(f"{outcome.code}: {outcome.problem or 'as it should be'}")
    return int(bool(outcome.problem))


def fuzz(what: str, seconds: float, seed: int, folder: Path) -> bool:
    """Prints what was found, also after Ctrl-C. Returns whether the run passed."""
    with closing(FUZZERS[what]()) as fuzzer:
        run = Run(fuzzer, folder)
        try:
            run.fuzz(seconds, seed)
        finally:
            passed = run.report()
    return passed


if __name__ == "__main__":
    sys.exit(main())
