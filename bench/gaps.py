"""The longest time in which the service answers nobody, although clients wait: whether it stands still at times.

In windows of a minute, clients send the next request as soon as the last is answered, over both APIs, with the face's
box and without. What counts is the longest time between two completions of whichever clients; the exit status is 1
where one is longer than --limit, or where no window of a row counts. A long answer of a lone client is a gap as well.

    python -m bench.gaps                                      an hour
    python -m bench.gaps --against ../before                  the same windows of another checkout beside these
    python -m bench.gaps --rounds 2 --seconds 5 --clients 4  a minute
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import NamedTuple

from bench.measuring import ROOT, Prepare, add_window_arguments, bench_parser, commit, machine, measure_rounds
from bench.services import Box, Load, add_against_argument, portrait, prepare_load, started


class Case(NamedTuple):
    """A row of the table."""

    commit: str
    api: str
    clients: int
    box: str


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = bench_parser("bench.gaps", __doc__)
    add_window_arguments(parser, rounds=5, seconds=60.0, warm_up=False)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], metavar="N", help="[1 4 16]")
    parser.add_argument("--limit", type=float, default=300.0, help="milliseconds that a gap may last [%(default)g]")
    add_against_argument(parser)
    args = parser.parse_args()

    jpeg, face = portrait(512)
    boxes: dict[str, list[Box]] = {"given": [face], "none": []}
    paths: dict[Case, Prepare[Load]] = {}
    with ExitStack() as stack:
        for checkout in (ROOT, *([args.against] if args.against else [])):
            service = stack.enter_context(started(checkout))
            for clients in args.clients:
                for api, url in service.urls.items():
                    for box, given in boxes.items():
                        case = Case(commit(checkout), api, clients, box)
                        paths[case] = prepare_load(url, jpeg, given, clients, args.seconds)
        measured = measure_rounds(paths, args.rounds, args.max_foreign, warm_up=False)

    print(machine())
    print(f"{args.rounds} rounds of windows of {args.seconds:g} s\n")
    print(f"| commit | API | clients | box | longest gap of each window, ms | above {args.limit:g} ms |")
    print("| --- | --- | ---: | --- | --- | ---: |")
    failed = False
    for case in measured.windows:
        gaps = [1e3 * window.result.longest_gap for window in measured.kept(case)]
        above = sum(gap > args.limit for gap in gaps)
        failed |= case.commit == commit(ROOT) and (above > 0 or not gaps)
        print(f"| {' | '.join(map(str, case))} | {', '.join(f'{gap:.0f}' for gap in gaps)} | {above} of {len(gaps)} |")
    print(f"\n{measured.left_out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
