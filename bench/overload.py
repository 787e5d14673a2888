"""Overload: latencies of the accepted and of the rejected requests at four times the capacity.

Measures the latencies of one client, then the capacity (requests per second with as many clients as the service accepts
at once), then sends requests on a fixed schedule at a multiple of that rate, whether or not earlier ones are answered.

    python -m bench.overload --seconds 60 --factor 4
"""

from __future__ import annotations

import argparse
import http.client
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from bench.measuring import machine
from bench.services import portrait, started
from landmarks.control_groups import cores

THREADS = 96
"""Enough that no request waits for a thread, as long as none takes more than half a second at 200 per second."""


@dataclass
class Outcomes:
    """How many requests had which status, and the seconds that each took."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        (self.accepted if status == 200 else self.rejected).append(seconds)


class Client:
    """A client with one connection that stays open."""

    def __init__(self, port: int, jpeg: bytes, box: tuple[float, ...]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._path = "/v1/landmarks?box=" + ",".join(f"{v:g}" for v in box)
        self._jpeg = jpeg

    def ask(self, outcomes: Outcomes) -> None:
        """Sends one request and records it. A request that is not answered within a minute has status 0."""
        start = time.perf_counter()
        try:
            self._connection.request("POST", self._path, self._jpeg, {"Content-Type": "image/jpeg"})
            response = self._connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
            status = 0
        outcomes.add(status, time.perf_counter() - start)


def back_to_back(clients: list[Client], seconds: float) -> Outcomes:
    """Each client sends its next request as soon as the last is answered."""
    outcomes, end = Outcomes(), time.perf_counter() + seconds

    def work(client: Client) -> None:
        while time.perf_counter() < end:
            client.ask(outcomes)

    _all(work, clients)
    return outcomes


def on_schedule(clients: list[Client], rate: float, seconds: float) -> Outcomes:
    """Sends `rate` requests per second, evenly spaced, by the clients in turn, without waiting for answers."""
    outcomes, start = Outcomes(), time.perf_counter()

    def work(client: Client) -> None:
        for number in range(clients.index(client), int(rate * seconds), len(clients)):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            client.ask(outcomes)

    _all(work, clients)
    return outcomes


def _all(work: Callable[[Client], None], clients: list[Client]) -> None:
    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(work, clients))


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of overload [%(default)s]")
    parser.add_argument(
        "--factor", type=float, default=4.0, help="requests sent, as a multiple of the capacity [%(default)s]"
    )
    parser.add_argument(
        "--max-in-flight", type=int, default=cores(), help="LANDMARKS_MAX_IN_FLIGHT of the service [%(default)s]"
    )
    parser.add_argument("--size", type=int, default=512, help="side of the JPEG in pixels [%(default)s]")
    args = parser.parse_args()

    image = portrait(args.size)
    with started(max_in_flight=str(args.max_in_flight)) as service:
        clients = [Client(service.rest, *image) for _ in range(THREADS)]
        back_to_back(clients[:1], 2.0)  # warms up
        alone = back_to_back(clients[:1], args.seconds / 3)
        full = back_to_back(clients[: args.max_in_flight], args.seconds / 6)
        capacity = len(full.accepted) / (args.seconds / 6)
        print(machine())
        print(
            f"capacity: {capacity:.1f} requests/s with {args.max_in_flight} in flight; offered: {args.factor:g} times\n"
        )
        over = on_schedule(clients, args.factor * capacity, args.seconds)
    print_table({"one client": alone, "overload": over})
    return 0


def print_table(rows: dict[str, Outcomes]) -> None:
    print("| load | 200 | 429 | other | p50 ms | p99 ms | slowest 429, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, outcomes in rows.items():
        ok, rejected = outcomes.statuses[200], outcomes.statuses[429]
        median, p99 = 1e3 * np.percentile(outcomes.accepted, [50, 99])
        slowest = 1e3 * max(outcomes.rejected, default=0.0)
        other = outcomes.statuses.total() - ok - rejected
        print(f"| {name} | {ok} | {rejected} | {other} | {median:.1f} | {p99:.1f} | {slowest:.1f} |")
    one, over = (np.percentile(outcomes.accepted, [50, 99]) for outcomes in rows.values())
    late = over[1] / one
    print(f"\np99 of the accepted requests: {late[1]:.1f} times that of one client, {late[0]:.1f} times its p50")


if __name__ == "__main__":
    sys.exit(main())
