"""What the benches measure: services and Tritons as processes of their own, and clients that keep them busy."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import skimage.data

from bench.measuring import ROOT, Prepare
from landmarks_client import Client
from service.triton_server.process import EmbeddedTriton

Box = tuple[float, ...]
"""x1, y1, x2, y2 in pixels."""

PORTRAIT_BOX: Final[Box] = (178.0, 63.0, 268.0, 176.0)
"""The face's box in scikit-image's astronaut, of 512 pixels."""


def portrait(size: int) -> tuple[bytes, Box]:
    """The public-domain portrait as a JPEG of `size` x `size` pixels, and the box of its face."""
    image = cv2.resize(skimage.data.astronaut(), (size, size), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return jpeg, tuple(v * size / 512 for v in PORTRAIT_BOX)


# ---------------------------------------------------------------- processes


class Service(NamedTuple):
    """A service that runs."""

    pid: int
    rest: int
    """The port of REST."""
    rpc: int
    """The port of gRPC."""

    @property
    def urls(self) -> dict[str, str]:
        """Of the two APIs, by name."""
        return {"REST": f"http://127.0.0.1:{self.rest}", "gRPC": f"grpc://127.0.0.1:{self.rpc}"}


@contextmanager
def started(checkout: Path = ROOT, **settings: str) -> Iterator[Service]:
    """Runs `landmarks serve` on free ports. `checkout`: of which the code is run, by the Python of its own .venv."""
    settings = {"port": "0", "grpc_port": "0", "log_level": "warning", **settings}
    environment = {**os.environ, **{f"LANDMARKS_{name.upper()}": value for name, value in settings.items()}}
    command = [interpreter(checkout), "-m", "service", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=checkout) as process:
        assert process.stdout is not None
        try:
            text = ""
            while "curl" not in text:
                line = process.stdout.readline()
                if not line:
                    raise SystemExit("the service did not start; see its messages above")
                text += line
            rest, rpc = re.findall(r"(?:REST  http://|gRPC  )127\.0\.0\.1:(\d+)", text)
            yield Service(process.pid, int(rest), int(rpc))
        finally:
            process.terminate()


def add_against_argument(parser: argparse.ArgumentParser) -> None:
    """--against, the folder of another checkout."""
    parser.add_argument(
        "--against",
        type=lambda text: Path(text).resolve(),
        metavar="CHECKOUT",
        help="measure the service of this checkout as well, by the Python of its own .venv",
    )


def interpreter(checkout: Path) -> str:
    """The Python that runs a checkout: this one for the benches' own, else that of the other's .venv."""
    if checkout.resolve() == ROOT:
        return sys.executable
    python = checkout / ".venv/bin/python"
    if not python.exists():
        raise SystemExit(f"{checkout} has no .venv: run `make .venv/serve.installed` there")
    return str(python.absolute())


@contextmanager
def tritons(count: int, repository: Path = ROOT / "model_repo") -> Iterator[list[str]]:
    """Starts Tritons; yields their gRPC addresses. They are children of this process."""
    servers = [EmbeddedTriton(repository) for _ in range(count)]

    async def start() -> list[str]:
        return [await triton.start() for triton in servers]  # one after the other: together they are no faster

    async def stop() -> None:
        await asyncio.gather(*(triton.stop() for triton in servers))

    try:
        yield asyncio.run(start())
    finally:
        asyncio.run(stop())


# ---------------------------------------------------------------- clients

Request = Callable[[], None]
"""Sends one request and checks its answer."""


def connect(url: str, jpeg: bytes, boxes: Sequence[Box], faces: int = 1) -> Request:
    """A request of a client with a connection of its own; `faces` must be in its answer. Without boxes, the service
    detects the faces.
    """
    client = Client(url)

    def request() -> None:
        assert len(client.landmarks(jpeg, boxes=list(boxes)).faces) == faces

    return request


def prepare_load(url: str, jpeg: bytes, boxes: Sequence[Box], clients: int, seconds: float) -> Prepare[Load]:
    """`clients` connect to the service first, and then keep it busy with requests for one face."""
    return lambda: partial(keep_busy, [connect(url, jpeg, boxes) for _ in range(clients)], seconds)


def prepare_alone(request: Request, seconds: float) -> Prepare[Load]:
    """One caller, whose request needs no connection."""
    return lambda: partial(keep_busy, [request], seconds)


class Load(NamedTuple):
    """What clients completed that each sent the next request as soon as the last was answered."""

    per_second: float
    """Requests of all clients together."""
    longest_gap: float
    """Seconds between two completions that follow each other, of whichever clients; 0 where there is only one."""
    latencies: tuple[float, ...]
    """Seconds of each request."""

    @property
    def completed(self) -> int:
        return len(self.latencies)


def keep_busy(clients: Sequence[Request], seconds: float) -> Load:
    """Has every client send requests, one after the other, until so many seconds have passed."""
    start = time.perf_counter()

    def work(request: Request) -> list[tuple[float, float]]:
        completed = []
        sent = time.perf_counter()
        while sent < start + seconds:
            request()
            answered = time.perf_counter()
            completed.append((answered, answered - sent))
            sent = answered
        return completed

    with ThreadPoolExecutor(len(clients)) as threads:
        completed = sorted(each for client in threads.map(work, clients) for each in client)
    ends, latencies = zip(*completed, strict=True)
    return Load(len(ends) / (ends[-1] - start), float(np.max(np.diff(ends), initial=0.0)), latencies)
