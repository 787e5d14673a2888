"""Faces per second of the service, and of the same functions called directly in one process ("bare").

"bare" decodes the image, crops, runs the network and decodes the heatmaps in one thread of this process; the network
itself uses every core. It is measured with the decoder in C and with the reference by NumPy. Every round measures each
path for a few seconds, one after the other; medians over the rounds are printed, with the least and the largest. The
ratios are those of a round to its bare, and there is none where the service detects the face, which bare does not. The
CPU time of a request by process says most where other processes take part of the machine. "client" is this process,
which also runs bare.

    python -m bench.throughput
    python -m bench.throughput --network int8 --concurrency 1 --boxes given
    python -m bench.throughput --network hrnet_w18 --boxes given --seconds 10      with random weights
    python -m bench.throughput --network float32 --against ../before               another checkout beside this one
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from bench.bare import bare_request, shipped_finder
from bench.measuring import (
    CLIENT,
    PROCESSES,
    ROOT,
    Prepare,
    Rounds,
    add_window_arguments,
    bench_parser,
    commit,
    machine,
    measure_rounds,
    spread,
)
from bench.random_network import random_repository
from bench.services import Box, Load, Request, add_against_argument, portrait, prepare_alone, prepare_load, started
from landmarks import compiled
from landmarks.repository import model_path
from landmarks.runtime import Network
from landmarks.tensors import Precision

BARE, NUMPY = "bare", "bare, decoded by NumPy"
GIVEN, NONE = "given", "none"


class Case(NamedTuple):
    """What is measured, as a row of the table names it."""

    network: str
    path: str
    """"bare", NUMPY, or the API, with the commit of another checkout."""
    clients: int = 1
    box: str = GIVEN


def by_numpy(request: Request) -> Request:
    """The request, decoded by NumPy instead of C."""

    def slower() -> None:
        library, compiled.library = compiled.library, None
        try:
            request()
        finally:
            compiled.library = library

    return slower


def repository_of(network: str, folder: Path) -> tuple[Path, Precision]:
    """The model repository and the precision of what --network names; one with random weights is made in `folder`."""
    if network in get_args(Precision):
        return ROOT / "model_repo", "int8" if network == "int8" else "float32"
    return random_repository(network, folder), "float32"


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = bench_parser("bench.throughput", __doc__)
    add_window_arguments(parser, rounds=5, seconds=3.0)
    parser.add_argument("--size", type=int, default=512, help="side of the JPEG in pixels [%(default)s]")
    parser.add_argument(
        "--concurrency", type=int, nargs="+", default=[1, 4, 16, 64], metavar="N", help="numbers of clients [1 4 16 64]"
    )
    parser.add_argument(
        "--network",
        nargs="+",
        default=list(get_args(Precision)),
        help="the shipped one as float32 or int8, or a backbone of landmarks-train with random weights, such as "
        "hrnet_w18 [float32 int8]",
    )
    parser.add_argument(
        "--boxes", nargs="+", choices=(GIVEN, NONE), default=[GIVEN, NONE], help="whether requests have the face's box"
    )
    add_against_argument(parser)
    args = parser.parse_args()

    jpeg, face = portrait(args.size)
    boxes: dict[str, list[Box]] = {GIVEN: [face], NONE: []}
    checkouts = {"": ROOT} | ({f" of {commit(args.against)}": args.against} if args.against else {})
    paths: dict[Case, Prepare[Load]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for network in args.network:
            repository, precision = repository_of(network, folder)
            network_file = model_path(repository, precision=precision)
            bare = bare_request(shipped_finder(Network(network_file)), jpeg, face)
            paths[Case(network, BARE)] = prepare_alone(bare, args.seconds)
            if compiled.library is not None:
                paths[Case(network, NUMPY)] = prepare_alone(by_numpy(bare), args.seconds)
            for label, checkout in checkouts.items():
                models = checkout / "model_repo" if repository == ROOT / "model_repo" else repository
                service = stack.enter_context(started(checkout, model_repository=str(models), precision=precision))
                for box in args.boxes:
                    for clients in args.concurrency:
                        for api, url in service.urls.items():
                            case = Case(network, api + label, clients, box)
                            paths[case] = prepare_load(url, jpeg, boxes[box], clients, args.seconds)
        measured = measure_rounds(paths, args.rounds, args.max_foreign)
    print(machine())
    print(
        f"one face in a JPEG of {args.size} pixels, {len(jpeg):,} bytes; {args.rounds} rounds of {args.seconds:g} s\n"
    )
    print_table(measured)
    return 0


def print_table(measured: Rounds[Case, Load]) -> None:
    """Medians, least and largest of the rounds, and the longest gap of all."""
    names = (CLIENT, *dict.fromkeys(reversed([name for part, name in PROCESSES.items() if part])))
    print(
        "| network | path | clients | box | faces/s | over bare | over bare by NumPy | ms, median | longest gap, ms "
        f"| CPU, us: all | {' | '.join(names)} |"
    )
    print(f"| --- | --- | ---: | --- |{' ---: |' * (6 + len(names))}")
    for case in measured.windows:
        kept = measured.kept(case)
        rates = np.array(measured.values(case, lambda load: load.per_second))
        over = [
            spread(rates / measured.values(bare, lambda load: load.per_second), 2)
            if case.box == GIVEN and bare in measured.windows
            else ""
            for bare in (Case(case.network, BARE), Case(case.network, NUMPY))
        ]
        latency = spread([1e3 * float(np.median(window.result.latencies)) for window in kept])
        gap = f"{1e3 * max(window.result.longest_gap for window in kept):.0f}" if kept else ""
        used = [[window.cpu.get(name, 0.0) / window.result.completed for name in names] for window in kept]
        cpu = 1e6 * np.median(used, axis=0) if kept else np.array([])
        cells = [*case, spread(rates), *over, latency, gap, *(f"{each:,.0f}" for each in [cpu.sum(), *cpu])]
        print(f"| {' | '.join(map(str, cells))} |")
    print(f"\n{measured.left_out}")


if __name__ == "__main__":
    sys.exit(main())
