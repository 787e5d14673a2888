"""How the service scales: with faces in an image, its size, clients, and Tritons; with the memory of each process.

Four parts, each with a service of its own: 1 to 500 faces in an image of 512 pixels, an image of 256 to 8,192 pixels
with one face, 1 to 256 clients, and 16 clients of a gateway with 1 to 3 Tritons. Boxes are given, over gRPC. Within a
part the rounds are interleaved, in ascending order; the memory is that after the first window of a row, when nothing
larger has been asked for yet. What processes share counts in each.

    python -m bench.scale                                                           half an hour
    python -m bench.scale --parts faces --faces 1 8 100 --rounds 1 --seconds 3      less than a minute
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from bench.measuring import (
    PROCESSES,
    ROOT,
    Prepare,
    Rounds,
    Window,
    add_window_arguments,
    bench_parser,
    machine,
    measure_rounds,
    resident_bytes,
    spread,
)
from bench.services import Box, Load, connect, keep_busy, portrait, started, tritons

SIZE = 512
"""Pixels of the image's side, where it does not vary."""


class Sample(NamedTuple):
    """What a window yields."""

    load: Load
    memory: dict[str, int]
    """Bytes of each process afterwards, by name."""


Measure = Callable[[dict[int, Prepare[Sample]]], Rounds[int, Sample]]


class Part(NamedTuple):
    """What varies while all else stays."""

    title: str
    values: list[int]
    faces: Callable[[int], int] = lambda _: 1
    size: Callable[[int], int] = lambda _: SIZE
    clients: Callable[[int], int] = lambda _: 1
    tritons: Callable[[int], int] = lambda _: 1


PARTS = {
    "faces": Part("faces in an image", [1, 8, 32, 100, 500], faces=lambda value: value),
    "sizes": Part("pixels of the image's side", [256, 512, 1024, 2048, 4096, 8192], size=lambda value: value),
    "clients": Part("clients", [1, 4, 16, 64, 256], clients=lambda value: value),
    "tritons": Part("Tritons", [1, 2, 3], clients=lambda _: 16, tritons=lambda value: value),
}


def measure_part(part: Part, values: Sequence[int], seconds: float, measure: Measure) -> Rounds[int, Sample]:
    """Values that need the same number of Tritons are measured together."""
    windows: dict[int, Sequence[Window[Sample] | None]] = {}
    for count, group in itertools.groupby(sorted(values), part.tritons):
        together = list(group)
        with service(count, max(map(part.faces, together)), max(map(part.clients, together))) as url:
            windows |= measure({value: prepare(part, value, url, seconds) for value in together}).windows
    return Rounds(windows)


@contextmanager
def service(count: int, faces: int, clients: int) -> Iterator[str]:
    """A gateway with so many Tritons, the address of its gRPC, and limits that let these requests through."""
    limits = {"max_faces": str(faces), "max_in_flight": str(clients), "request_timeout": "300"}
    with tritons(count) as addresses, started(ROOT, triton_url=",".join(addresses), **limits) as running:
        yield running.urls["gRPC"]


def prepare(part: Part, value: int, url: str, seconds: float) -> Prepare[Sample]:
    """Connects the clients."""
    jpeg, box = portrait(part.size(value))
    faces = part.faces(value)
    boxes = [shifted(box, i) for i in range(faces)]

    def connected() -> Callable[[], Sample]:
        clients = [connect(url, jpeg, boxes, faces) for _ in range(part.clients(value))]
        return lambda: Sample(keep_busy(clients, seconds), resident_bytes())

    return connected


def shifted(box: Box, number: int) -> Box:
    """A box that differs a little for each face, so that each has a crop of its own."""
    return tuple(value + 0.01 * number for value in box)


def main() -> int:
    """Measures and prints a table in Markdown for each part."""
    parser = bench_parser("bench.scale", __doc__)
    add_window_arguments(parser, rounds=3, seconds=15.0, warm_up=False)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="[all]")
    for name, part in PARTS.items():
        text = f"{part.title} [{' '.join(map(str, part.values))}]"
        parser.add_argument(f"--{name}", type=int, nargs="+", default=part.values, metavar="N", help=text)
    args = parser.parse_args()

    print(machine())
    measure = partial(measure_rounds, rounds=args.rounds, max_foreign=args.max_foreign, warm_up=False)
    for name in args.parts:
        print_table(PARTS[name], measure_part(PARTS[name], getattr(args, name), args.seconds, measure))
    return 0


def print_table(part: Part, measured: Rounds[int, Sample]) -> None:
    """A row for each value."""
    names = dict.fromkeys(reversed([name for word, name in PROCESSES.items() if word]))
    titles = (part.title, "faces/s", "ms a face", "CPU ms a face", "ms, median", "ms, 99 %", "MB: all", *names)
    print(f"| {' | '.join(titles)} |")
    print(f"| ---: |{' ---: |' * (6 + len(names))}")
    for value in measured.windows:
        faces = part.faces(value)
        kept = measured.kept(value)
        rates = np.array([faces * window.result.load.per_second for window in kept])
        cpu = [1e3 * sum(window.cpu.values()) / (faces * window.result.load.completed) for window in kept]
        latencies = [1e3 * np.percentile(window.result.load.latencies, [50, 99]) for window in kept]
        median, late = np.median(latencies, axis=0) if kept else (np.nan, np.nan)
        memory = kept[0].result.memory if kept else {}
        used = [memory.get(name, 0) / 1e6 for name in names]
        times = [f"{each:,.1f}" for each in (median, late)]
        cells = [
            value,
            spread(rates),
            spread(1e3 / rates),
            spread(cpu),
            *times,
            *(f"{each:,.0f}" for each in [sum(used), *used]),
        ]
        print(f"| {' | '.join(map(str, cells))} |")
    print(f"\n{measured.left_out}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
