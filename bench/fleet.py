"""Several gateways that share several Tritons, on one machine: one Triton is killed under load, and then the others.

Prints the requests per second before and after the first loss, how many requests were answered and lost, and how fast
clients receive status 503 when no Triton is left.

    python -m bench.fleet --gateways 2 --tritons 3
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.measuring import machine
from bench.overload import Client, Outcomes
from bench.services import portrait, started, tritons


def pid_of(address: str) -> int:
    """The process id of the tritonserver that listens at this address, of a port or of a socket."""
    host, _, port = address.rpartition(":")
    wanted = {f"--grpc-address={host}", f"--grpc-port={port}"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if arguments[0].endswith("/tritonserver") and wanted <= set(arguments):
            return int(process.name)
    raise SystemExit(f"no tritonserver listens at {address}")


class Load:
    """Clients in threads, each of which sends its next request as soon as the last is answered."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = clients
        self._stop = threading.Event()
        self.outcomes = Outcomes()

    def __enter__(self) -> Load:
        self._threads = ThreadPoolExecutor(len(self._clients))
        self._done = [self._threads.submit(self._work, client) for client in self._clients]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for done in self._done:
            done.result()
        self._threads.shutdown()

    def rate(self, seconds: float) -> float:
        """Answers with status 200 per second, measured over the next so many seconds."""
        before, start = len(self.outcomes.accepted), time.perf_counter()
        time.sleep(seconds)
        return (len(self.outcomes.accepted) - before) / (time.perf_counter() - start)

    def _work(self, client: Client) -> None:
        while not self._stop.is_set():
            client.ask(self.outcomes)


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateways", type=int, default=2, help="number of gateways [%(default)s]")
    parser.add_argument("--tritons", type=int, default=3, help="number of Tritons [%(default)s]")
    parser.add_argument(
        "--concurrency", type=int, default=12, help="clients, distributed over the gateways [%(default)s]"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="seconds measured before the loss, and after it [%(default)s]"
    )
    args = parser.parse_args()

    image = portrait(512)
    with ExitStack() as stack:
        addresses = stack.enter_context(tritons(args.tritons))
        url = ",".join(addresses)
        ports = [stack.enter_context(started(triton_url=url)).rest for _ in range(args.gateways)]
        load = Load([Client(ports[number % len(ports)], *image) for number in range(args.concurrency)])
        with load:
            load.rate(3.0)  # warms up
            before = load.rate(args.seconds)
            os.kill(pid_of(addresses[0]), signal.SIGKILL)
            after = load.rate(args.seconds)
            statuses, slowest = load.outcomes.statuses.copy(), 1e3 * max(load.outcomes.accepted)
            for address in addresses[1:]:
                os.kill(pid_of(address), signal.SIGKILL)
            load.rate(3.0)
    print(machine())
    print(f"{args.gateways} gateways, {args.tritons} Tritons, {args.concurrency} clients\n")
    print("| requests/s | after the loss of one Triton | answered | lost | slowest, ms |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    print(f"| {before:.1f} | {after:.1f} | {statuses[200]} | {statuses.total() - statuses[200]} | {slowest:.0f} |")
    without = load.outcomes.statuses - statuses
    failed, slowest = without.total() - without[200], 1e3 * max(load.outcomes.rejected)
    print(f"\nwith no Triton left: {without[503]} of {failed} failures had status 503, the slowest in {slowest:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
