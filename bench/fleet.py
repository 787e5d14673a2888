"""A fleet on one machine: gateways that share Tritons, one of which is killed under load, and then the others.

Prints the throughput before and after the first loss, what became of every request, and what clients are told when
no Triton is left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.overload import Client, Seen
from bench.throughput import ROOT, portrait, served
from service.triton_server.process import EmbeddedTriton


@contextmanager
def tritons(count: int) -> Iterator[list[str]]:
    """Their gRPC addresses."""
    fleet = [EmbeddedTriton(ROOT / "model_repo") for _ in range(count)]

    async def start() -> list[str]:
        return [await triton.start() for triton in fleet]  # one after the other: they would only slow each other

    async def stop() -> None:
        await asyncio.gather(*(triton.stop() for triton in fleet))

    try:
        yield asyncio.run(start())
    finally:
        asyncio.run(stop())


def pid_of(address: str) -> int:
    """The tritonserver that listens there."""
    wanted = f"--grpc-port={address.rpartition(':')[2]}"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if words[0].endswith("/tritonserver") and wanted in words:
            return int(process.name)
    raise SystemExit(f"no tritonserver listens at {address}")


class Load:
    """Clients that ask again as soon as they are answered."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = clients
        self._stop = threading.Event()
        self.seen = Seen()

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
        """Answers with status 200 a second, over the next so many seconds."""
        before, start = len(self.seen.accepted), time.perf_counter()
        time.sleep(seconds)
        return (len(self.seen.accepted) - before) / (time.perf_counter() - start)

    def _work(self, client: Client) -> None:
        while not self._stop.is_set():
            client.ask(self.seen)


def main() -> int:
    """Measures, and prints a table of Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--gateways", type=int, default=2, help="[%(default)s]")
    parser.add_argument("--tritons", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--concurrency", type=int, default=12, help="clients, spread over the gateways [%(default)s]")
    parser.add_argument("--seconds", type=float, default=20.0, help="before the loss, and after it [%(default)s]")
    args = parser.parse_args()

    picture = portrait(512)
    with ExitStack() as stack:
        addresses = stack.enter_context(tritons(args.tritons))
        os.environ["LANDMARKS_TRITON_URL"] = ",".join(addresses)
        ports = [stack.enter_context(served())[0] for _ in range(args.gateways)]
        load = Load([Client(ports[number % len(ports)], *picture) for number in range(args.concurrency)])
        with load:
            load.rate(3.0)  # warms up
            before = load.rate(args.seconds)
            os.kill(pid_of(addresses[0]), signal.SIGKILL)
            after = load.rate(args.seconds)
            statuses, slowest = load.seen.statuses.copy(), 1e3 * max(load.seen.accepted)
            for address in addresses[1:]:
                os.kill(pid_of(address), signal.SIGKILL)
            load.rate(3.0)
    print(f"{args.gateways} gateways, {args.tritons} Tritons, {args.concurrency} clients\n")
    print("| requests/s | after the loss of one Triton | answered | lost | slowest, ms |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    print(f"| {before:.1f} | {after:.1f} | {statuses[200]} | {statuses.total() - statuses[200]} | {slowest:.0f} |")
    told = load.seen.statuses - statuses
    last = 1e3 * max(load.seen.turned_away)
    print(f"\nwith no Triton left: {told[503]} of {told.total() - told[200]} told 503, the slowest after {last:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
