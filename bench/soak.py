"""Resident memory of the service after a while of mixed requests, and after ten times as many.

The requests are drawn from a seed: good photographs of several sizes by either door, alone and in batches, with and
without boxes, flipped, and bad ones: damaged, too large, of no image, with absurd boxes. Prints the memory of the
gateway and of each process of its Triton, and fails where one has grown by more than the bar allows. A process may hold
on to the last request until the next one comes, so the same small ones are asked before each measurement. The first
hundred are all of the largest photograph: what the most demanding requests take at once is there from then on, and what
is added later has leaked.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import httpx
import numpy as np
from tqdm import tqdm

from bench.throughput import portrait, started
from landmarks_client import Client, LandmarksError

BAR = 0.10
"""How much a process may grow between the two measurements."""

ROUND = 100
"""Requests drawn at a time; the first round is of the largest photograph."""

Ask = Callable[[], str]
"""One request; "ok", or the code of its failure."""

SIDES = (128, 256, 512, 800, 1280)


class Mix:
    """Requests of every kind, drawn from a seed."""

    def __init__(self, seed: int, rest: str, rpc: str) -> None:
        self._chance = random.Random(seed)
        self._photos = [portrait(side) for side in SIDES]
        self._clients = (Client(rest), Client(rpc))
        self._http = httpx.Client(base_url=rest, timeout=60)
        self._noise = self._chance.randbytes(60_000)

    def draw(self) -> Ask:
        """The next request."""
        kinds = (self._good, self._good, self._good, self._batch, self._bad, self._damaged, self._strange)
        return self._chance.choice(kinds)()

    def heavy(self) -> Ask:
        """A request of the largest photograph, by either door."""
        client, (jpeg, box) = self._chance.choice(self._clients), self._photos[-1]
        boxes = [box] * self._chance.choice((0, 8))
        return lambda: _code(lambda: client.landmarks(jpeg, boxes=boxes))

    def settle(self) -> None:
        """Leaves every process with the same request as its last."""
        jpeg, box = self._photos[0]
        for _ in range(8):
            self._clients[0].landmarks(jpeg)
            self._clients[0].landmarks(jpeg, boxes=[box])

    def _good(self) -> Ask:
        client, (jpeg, box) = self._chance.choice(self._clients), self._chance.choice(self._photos)
        boxes = [box] * self._chance.choice((0, 1, 1, 4))
        flip, omit = self._chance.random() < 0.2, self._chance.choice(((), ("covariances",)))
        return lambda: _code(lambda: client.landmarks(jpeg, boxes=boxes, flip=flip, omit=omit))

    def _batch(self) -> Ask:
        client, photos = self._chance.choice(self._clients), self._chance.sample(self._photos[:3], 2)
        images = [photos[0][0], self._noise, photos[1][0]]
        return lambda: _code(lambda: client.landmarks_batch(images))

    def _bad(self) -> Ask:
        client, (jpeg, _) = self._chance.choice(self._clients), self._chance.choice(self._photos)
        box = self._chance.choice(((9.0, 9.0, 1.0, 1.0), (0.0, 0.0, 1e30, 1e30), (float("nan"),) * 4))
        return lambda: _code(lambda: client.landmarks(jpeg, boxes=[box]))

    def _damaged(self) -> Ask:
        client, (jpeg, box) = self._chance.choice(self._clients), self._chance.choice(self._photos)
        spoilt = bytearray(jpeg)
        for _ in range(20):
            spoilt[self._chance.randrange(200, len(jpeg))] = self._chance.randrange(256)
        data = self._chance.choice((bytes(spoilt), jpeg[: self._chance.randrange(len(jpeg))], self._noise, b""))
        return lambda: _code(lambda: client.landmarks(data, boxes=[box]))

    def _strange(self) -> Ask:
        blank = cv2.imencode(".png", np.zeros((3000, 3000), np.uint8))[1].tobytes()
        body, kind = self._chance.choice(
            (
                (blank, "image/png"),
                (b"[" * 50_000, "application/json"),
                (self._noise, "multipart/form-data; boundary=x"),
                (self._noise, "application/msgpack"),
            )
        )
        headers = {"Content-Type": kind, "X-Request-ID": f"soak-{self._chance.randrange(10**9)}"}
        return lambda: str(self._http.post("/v1/landmarks", content=body, headers=headers).json().get("code", "ok"))


def _code(ask: Callable[[], object]) -> str:
    try:
        ask()
    except LandmarksError as error:
        return error.code
    return "ok"


class Memory(NamedTuple):
    """Physical memory of a process, bytes."""

    total: int
    shared: int
    """Of it, memory that Triton and its Python backend hand tensors over in: as much as the largest took at once."""


def resident(pid: int) -> dict[str, Memory]:
    """The memory of a process and all below it, by name and id."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    total, shared = (int(status.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "RssShmem"))
    found = {f"{status['Name'].strip()} {pid}": Memory(total, shared)}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= resident(int(child))
    return found


def main() -> int:
    """Returns 1 where a process has grown too much."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--first", type=int, default=1_000, help="requests before the first measurement [%(default)s]")
    parser.add_argument("--last", type=int, default=10_000, help="requests before the second [%(default)s]")
    parser.add_argument("--concurrency", type=int, default=4, help="requests at a time [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    args = parser.parse_args()

    codes: Counter[str] = Counter()
    with started() as (pid, rest, rpc), ThreadPoolExecutor(args.concurrency) as threads:
        mix = Mix(args.seed, f"http://127.0.0.1:{rest}", f"grpc://127.0.0.1:{rpc}")
        with tqdm(total=args.last, unit="request", leave=False, disable=None) as bar:

            def ask_all(asks: list[Ask]) -> None:
                codes.update(threads.map(lambda ask: ask(), asks))
                bar.update(len(asks))

            def run(count: int) -> dict[str, Memory]:
                while count > 0:
                    asks = [mix.draw() for _ in range(min(count, ROUND))]
                    count -= len(asks)
                    ask_all(asks)
                mix.settle()
                return resident(pid)

            ask_all([mix.heavy() for _ in range(ROUND)])
            early = run(args.first - ROUND)
            late = run(args.last - args.first)
    return print_table(args.first, args.last, early, late, codes)


def print_table(first: int, last: int, early: dict[str, Memory], late: dict[str, Memory], codes: Counter[str]) -> int:
    print(f"answers: {', '.join(f'{count} {code}' for code, count in codes.most_common())}\n")
    print(
        f"| process | MB after {first:,} (shared) | MB after {last:,} (shared) | growth |\n| --- | ---: | ---: | ---: |"
    )
    growths = []
    for name, before in early.items():
        after = late.get(name, Memory(0, 0))
        growths.append(after.total / before.total - 1)
        cells = [f"{m.total / 1e6:.1f} ({m.shared / 1e6:.1f})" for m in (before, after)]
        print(f"| {name} | {' | '.join(cells)} | {growths[-1]:+.1%} |")
    gone = early.keys() ^ late.keys()
    if gone:
        print(f"\nprocesses that came or went: {', '.join(sorted(gone))}")
    if "internal" in codes:
        print("\nthere were internal errors")
    return 1 if gone or max(growths) > BAR or "internal" in codes else 0


if __name__ == "__main__":
    sys.exit(main())
