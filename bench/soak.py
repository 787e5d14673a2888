"""Memory leaks: resident memory of the service in its first 1,000 mixed requests, and in the last of 10,000.

The requests are drawn from a seed: valid images of several sizes over both APIs, alone and in batches, with and without
boxes, flipped; and invalid ones: damaged or too large images, bytes that are no image, unusable boxes. Prints the
memory of the gateway and of each process of its Triton. The exit status is 1 when one of them has grown by more than a
tenth.

Memory is measured after every hundred requests, and medians of the first and of the last thousand are compared: freed
memory is kept and given back by tens of megabytes, so that a single measurement tells little. A process may keep the
last request until the next arrives, so that the same small requests precede each measurement.

The first hundred requests all have the largest image and come from four times as many clients, so that the memory which
the most demanding requests need at a time is allocated before the first measurement, and what is added later has
leaked.

    python -m bench.soak
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import cv2
import httpx
import numpy as np
from tqdm import tqdm

from bench.measuring import Process, machine, processes
from bench.services import portrait, started
from landmarks_client import Client, LandmarksError

MAX_GROWTH = 0.10
"""Share by which a process may grow."""

ROUND_SIZE = 100
"""Requests drawn at a time; the first round has the largest image."""

Ask = Callable[[], str]
"""Sends one request; returns "ok" or the code of its failure."""

SIDES = (128, 256, 512, 800, 1280)


class RequestMix:
    """Requests of every kind, drawn from a seed."""

    def __init__(self, seed: int, rest: str, rpc: str) -> None:
        self._random = random.Random(seed)
        self._images = [portrait(side) for side in SIDES]
        self._clients = (Client(rest), Client(rpc))
        self._http = httpx.Client(base_url=rest, timeout=60)
        self._noise = self._random.randbytes(60_000)

    def draw(self) -> Ask:
        """The next request."""
        kinds = (self._valid, self._valid, self._valid, self._batch, self._bad_box, self._damaged, self._malformed)
        return self._random.choice(kinds)()

    def draw_largest(self) -> Ask:
        """A request with the largest image, over either API."""
        client, (jpeg, box) = self._random.choice(self._clients), self._images[-1]
        boxes = [box] * self._random.choice((0, 8))
        return lambda: _code(lambda: client.landmarks(jpeg, boxes=boxes))

    def send_small(self) -> None:
        """Sends the same small requests as before every measurement."""
        jpeg, box = self._images[0]
        for _ in range(8):
            self._clients[0].landmarks(jpeg)
            self._clients[0].landmarks(jpeg, boxes=[box])

    def _valid(self) -> Ask:
        client, (jpeg, box) = self._random.choice(self._clients), self._random.choice(self._images)
        boxes = [box] * self._random.choice((0, 1, 1, 4))
        flip, omit = self._random.random() < 0.2, self._random.choice(((), ("covariances",)))
        return lambda: _code(lambda: client.landmarks(jpeg, boxes=boxes, flip=flip, omit=omit))

    def _batch(self) -> Ask:
        client, chosen = self._random.choice(self._clients), self._random.sample(self._images[:3], 2)
        images = [chosen[0][0], self._noise, chosen[1][0]]
        return lambda: _code(lambda: client.landmarks_batch(images))

    def _bad_box(self) -> Ask:
        client, (jpeg, _) = self._random.choice(self._clients), self._random.choice(self._images)
        box = self._random.choice(((9.0, 9.0, 1.0, 1.0), (0.0, 0.0, 1e30, 1e30), (float("nan"),) * 4))
        return lambda: _code(lambda: client.landmarks(jpeg, boxes=[box]))

    def _damaged(self) -> Ask:
        client, (jpeg, box) = self._random.choice(self._clients), self._random.choice(self._images)
        damaged = bytearray(jpeg)
        for _ in range(20):
            damaged[self._random.randrange(200, len(jpeg))] = self._random.randrange(256)
        data = self._random.choice((bytes(damaged), jpeg[: self._random.randrange(len(jpeg))], self._noise, b""))
        return lambda: _code(lambda: client.landmarks(data, boxes=[box]))

    def _malformed(self) -> Ask:
        blank = cv2.imencode(".png", np.zeros((3000, 3000), np.uint8))[1].tobytes()
        body, kind = self._random.choice(
            (
                (blank, "image/png"),
                (b"[" * 50_000, "application/json"),
                (self._noise, "multipart/form-data; boundary=x"),
                (self._noise, "application/msgpack"),
            )
        )
        headers = {"Content-Type": kind, "X-Request-ID": f"soak-{self._random.randrange(10**9)}"}
        return lambda: str(self._http.post("/v1/landmarks", content=body, headers=headers).json().get("code", "ok"))


def _code(ask: Callable[[], object]) -> str:
    try:
        ask()
    except LandmarksError as error:
        return error.code
    return "ok"


def main() -> int:
    """Returns 1 when a process has grown too much."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", type=int, default=1_000, help="requests that medians are of [%(default)s]")
    parser.add_argument("--requests", type=int, default=10_000, help="in all, of two windows at least [%(default)s]")
    parser.add_argument("--concurrency", type=int, default=4, help="concurrent requests [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the requests [%(default)s]")
    args = parser.parse_args()

    if args.window <= ROUND_SIZE or args.requests < 2 * args.window:
        parser.error(f"a window has more than {ROUND_SIZE} requests, and all are two windows or more")

    codes: Counter[str] = Counter()
    few, many = ThreadPoolExecutor(args.concurrency), ThreadPoolExecutor(4 * args.concurrency)
    measured: list[dict[str, Process]] = []
    with started() as service, few, many:
        mix = RequestMix(args.seed, *service.urls.values())
        with tqdm(total=args.requests, unit="request", leave=False, disable=None) as bar:

            def ask_all(asks: list[Ask], clients: ThreadPoolExecutor) -> None:
                codes.update(clients.map(lambda ask: ask(), asks))
                bar.update(len(asks))

            ask_all([mix.draw_largest() for _ in range(ROUND_SIZE)], many)
            for _ in range(args.requests // ROUND_SIZE - 1):
                ask_all([mix.draw() for _ in range(ROUND_SIZE)], few)
                mix.send_small()
                measured.append({f"{each.name} {each.pid}": each for each in processes(service.pid)})
    rounds = args.window // ROUND_SIZE
    return print_table(args.window, measured[: rounds - 1], measured[-rounds:], codes)


def print_table(
    window: int, early: list[dict[str, Process]], late: list[dict[str, Process]], codes: Counter[str]
) -> int:
    """`early`, `late`: what was measured in the first and in the last window."""
    print(machine())
    print(f"answers: {', '.join(f'{count} {code}' for code, count in codes.most_common())}\n")
    print(f"| process | MB in the first {window:,} (shared) | MB in the last {window:,} (shared) | growth |")
    print("| --- | ---: | ---: | ---: |")
    changed = early[0].keys() ^ late[-1].keys()
    growths = []
    for name in [name for name in early[0] if name in late[-1]]:
        before, after = ([each[name] for each in rounds if name in each] for rounds in (early, late))
        growths.append(median(each.resident for each in after) / median(each.resident for each in before) - 1)
        print(f"| {name} | {megabytes(before)} | {megabytes(after)} | {growths[-1]:+.1%} |")
    if changed:
        print(f"\nprocesses that started or ended: {', '.join(sorted(changed))}")
    if "internal" in codes:
        print("\nthere were internal errors")
    return 1 if changed or max(growths) > MAX_GROWTH or "internal" in codes else 0


def megabytes(measured: list[Process]) -> str:
    """The median and the range, and the median of the shared part."""
    resident = [each.resident / 1e6 for each in measured]
    shared = median(each.shared / 1e6 for each in measured)
    return f"{median(resident):.0f}, {min(resident):.0f} to {max(resident):.0f} ({shared:.0f})"


if __name__ == "__main__":
    sys.exit(main())
