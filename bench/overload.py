"""What four times the capacity does to those who are let in, and to those who are not.

Measures one client's latencies, then how much is served to as many clients as are let in at a time, then sends
requests on a schedule at a multiple of that rate, whether earlier ones have been answered or not.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from bench.throughput import portrait, served

THREADS = 96
"""Enough for no request to wait for one of them, as long as none takes longer than half a second at 200 a second."""


@dataclass
class Seen:
    """What became of requests: how many by status, and the seconds that each took."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: list[float] = field(default_factory=list)
    turned_away: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        (self.accepted if status == 200 else self.turned_away).append(seconds)


class Client:
    """One connection that stays open."""

    def __init__(self, port: int, jpeg: bytes, box: tuple[float, ...]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._path = "/v1/landmarks?box=" + ",".join(f"{v:g}" for v in box)
        self._jpeg = jpeg

    def ask(self, seen: Seen) -> None:
        """One request. One that is not answered within a minute counts as status 0."""
        start = time.perf_counter()
        try:
            self._connection.request("POST", self._path, self._jpeg, {"Content-Type": "image/jpeg"})
            response = self._connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
            status = 0
        seen.add(status, time.perf_counter() - start)


def back_to_back(clients: list[Client], seconds: float) -> Seen:
    """Each client asks again as soon as it is answered."""
    seen, end = Seen(), time.perf_counter() + seconds

    def work(client: Client) -> None:
        while time.perf_counter() < end:
            client.ask(seen)

    _all(work, clients)
    return seen


def on_schedule(clients: list[Client], rate: float, seconds: float) -> Seen:
    """`rate` requests a second, evenly, whatever becomes of them; the clients take turns."""
    seen, start = Seen(), time.perf_counter()

    def work(client: Client) -> None:
        for turn in range(clients.index(client), int(rate * seconds), len(clients)):
            time.sleep(max(0.0, start + turn / rate - time.perf_counter()))
            client.ask(seen)

    _all(work, clients)
    return seen


def _all(work: Callable[[Client], None], clients: list[Client]) -> None:
    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(work, clients))


def main() -> int:
    """Measures, and prints a table of Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload [%(default)s]")
    parser.add_argument("--factor", type=float, default=4.0, help="of the capacity [%(default)s]")
    cores = os.cpu_count() or 1
    parser.add_argument("--max-in-flight", type=int, default=cores, help="requests let in at a time [%(default)s]")
    parser.add_argument("--size", type=int, default=512, help="side of the JPEG in pixels [%(default)s]")
    args = parser.parse_args()

    os.environ["LANDMARKS_MAX_IN_FLIGHT"] = str(args.max_in_flight)
    picture = portrait(args.size)
    with served() as (port, _):
        clients = [Client(port, *picture) for _ in range(THREADS)]
        back_to_back(clients[:1], 2.0)  # warms up
        alone = back_to_back(clients[:1], args.seconds / 3)
        full = back_to_back(clients[: args.max_in_flight], args.seconds / 6)
        capacity = len(full.accepted) / (args.seconds / 6)
        print(
            f"capacity: {capacity:.1f} requests/s with {args.max_in_flight} in flight; offered: {args.factor:g} times\n"
        )
        over = on_schedule(clients, args.factor * capacity, args.seconds)
    print_table({"one client": alone, "overload": over})
    return 0


def print_table(rows: dict[str, Seen]) -> None:
    print("| load | 200 | 429 | other | p50 ms | p99 ms | slowest 429, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, seen in rows.items():
        ok, refused = seen.statuses[200], seen.statuses[429]
        median, p99 = 1e3 * np.percentile(seen.accepted, [50, 99])
        slowest = 1e3 * max(seen.turned_away, default=0.0)
        other = seen.statuses.total() - ok - refused
        print(f"| {name} | {ok} | {refused} | {other} | {median:.1f} | {p99:.1f} | {slowest:.1f} |")
    one, over = (np.percentile(seen.accepted, 99) for seen in rows.values())
    print(f"\np99 of those let in: {over / one:.1f} times that of one client")


if __name__ == "__main__":
    sys.exit(main())
