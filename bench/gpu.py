"""The models on a GPU: deviation of the golden crop's points, faces per second, and latencies.

Starts the image `triton` with Docker and the GPUs of this machine, sends it requests over gRPC as a gateway does, and
removes it. No gateway takes part. The golden points are those that the network had on the CPU when it was exported.

    deploy/build.sh triton && python -m bench.gpu
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from tqdm import tqdm

from bench.measuring import ROOT
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from service.engines.port import EngineError
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import EmbeddedTriton, free_ports

LOADS = ((1, 1), (1, 16), (8, 1), (8, 4))
"""Faces in a request, and clients that each send the next request as soon as the last is answered."""


@asynccontextmanager
async def in_docker(image: str) -> AsyncIterator[str]:
    """The address of a Triton in a container with the restrictions of docker-compose.yml."""
    (port,) = free_ports(1)
    restrictions = (
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--shm-size=512m",
        "--volume=landmarks-engines:/engines",
    )
    command = (
        "docker",
        "run",
        "--detach",
        "--rm",
        "--gpus=all",
        *restrictions,
        f"--publish=127.0.0.1:{port}:8001",
        image,
    )
    container = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run(("docker", "stop", container), stdout=subprocess.DEVNULL, check=False)


@asynccontextmanager
async def on_cpu() -> AsyncIterator[str]:
    """The address of the wheel's Triton, on the CPU."""
    triton = EmbeddedTriton(ROOT / "model_repo")
    try:
        yield await triton.start()
    finally:
        await triton.stop()


@asynccontextmanager
async def connected(url: str, startup_timeout: float) -> AsyncIterator[TritonEngine]:
    """An engine whose Triton has answered the golden crop. TensorRT may have to build its engines first."""
    engine, end = TritonEngine(url), time.monotonic() + startup_timeout
    try:
        while True:
            try:
                await engine.start()
            except EngineError as error:
                if time.monotonic() > end:
                    raise SystemExit(
                        f"the golden crop was not answered within {startup_timeout:g} s: {error}"
                    ) from error
                await asyncio.sleep(1)
            else:
                break
        yield engine
    finally:
        await engine.close()


async def golden_difference(engine: TritonEngine, faces: int) -> float:
    """The largest deviation of a golden point, in a batch of so many faces, in crop pixels."""
    metadata = engine.model.metadata
    decoded = await engine.infer(np.repeat(golden_crop(metadata.codec.input_size)[None], faces, axis=0))
    return float(np.abs(decoded.points - np.array(metadata.golden_points)).max())


async def latencies(engine: TritonEngine, faces: int, clients: int, seconds: float) -> tuple[list[float], float]:
    """The seconds of each request, and the seconds until the last was answered."""
    crops = np.repeat(golden_crop(engine.model.metadata.codec.input_size)[None], faces, axis=0)
    start, taken = time.perf_counter(), []

    async def client() -> None:
        while (sent := time.perf_counter()) < start + seconds:
            await engine.infer(crops)
            taken.append(time.perf_counter() - sent)

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken, time.perf_counter() - start


async def measure(url: str, startup_timeout: float, seconds: float) -> None:
    """Prints two tables in Markdown."""
    async with connected(url, startup_timeout) as engine:
        print(f"model {engine.model.name}, {engine.model.provenance}\n")
        print(f"| batch | deviation of the golden crop, px (at most {GOLDEN_TOLERANCE:g}) |\n| ---: | ---: |")
        for faces in sorted({faces for faces, _ in LOADS}):
            print(f"| {faces} | {await golden_difference(engine, faces):.4f} |")
        print(
            "\n| faces in a request | clients | faces/s | median, ms | 99 %, ms |\n| ---: | ---: | ---: | ---: | ---: |"
        )
        for faces, clients in tqdm(LOADS, leave=False):
            await latencies(engine, faces, clients, seconds / 5)  # warms up
            taken, elapsed = await latencies(engine, faces, clients, seconds)
            median, late = 1e3 * np.percentile(taken, [50, 99])
            print(f"| {faces} | {clients} | {faces * len(taken) / elapsed:.1f} | {median:.1f} | {late:.1f} |")


def main() -> int:
    """Measures and prints two tables in Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each measurement [%(default)s]")
    parser.add_argument(
        "--startup-timeout",
        type=float,
        default=1200.0,
        help="seconds within which the golden crop must be answered [%(default)s]",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--image", default="h3r-landmarks/triton", help="the Docker image to start [%(default)s]")
    choice.add_argument("--triton", metavar="HOST:PORT", help="measure this running Triton instead")
    choice.add_argument("--cpu", action="store_true", help="measure the wheel's Triton on this CPU instead")
    args = parser.parse_args()

    async def run() -> None:
        if args.triton:
            await measure(args.triton, args.startup_timeout, args.seconds)
            return
        async with on_cpu() if args.cpu else in_docker(args.image) as url:
            await measure(url, args.startup_timeout, args.seconds)

    try:
        asyncio.run(run())
    except EngineError as error:
        raise SystemExit(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
