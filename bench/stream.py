"""Frames a second through the stream `Track`, beside the same frames as single calls, and the memory of the service.

    python -m bench.stream --frames 1000

Starts a service of its own, with the network in its process. Rounds of both kinds alternate, so that what else the
machine does meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np

from bench.measuring import processes
from bench.services import started
from landmarks.golden import golden_crop
from landmarks_client import AsyncClient

CONCURRENCY: Final = (1, 2, 4, 8)
"""Single calls side by side, of which the best counts."""


def main() -> None:
    """Prints one line for each round, and the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000, help="in all rounds of the stream together")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with started(engine="local") as service:
        asyncio.run(measure(service.urls["gRPC"], service.pid, options.frames // options.rounds, options.rounds))


def pictures() -> list[bytes]:
    """JPEG files of 1920 x 1080 pixels: a face that moves before noise."""
    files = []
    for step in range(8):
        noise = np.random.default_rng(step).normal(110, 8, (1080, 1920, 1)).clip(0, 255).astype(np.uint8)
        image = np.repeat(noise, 3, axis=2)
        image[200:712, 600 + 6 * step : 1112 + 6 * step] = cv2.resize(golden_crop(), (512, 512))
        files.append(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
    return files


async def measure(url: str, pid: int, count: int, rounds: int) -> None:
    """`count`: frames of a round."""
    files = pictures()
    frames = [files[i % len(files)] for i in range(count)]
    async with AsyncClient(url, timeout=120) as client:
        await stream(client, frames[:16])
        best = max([(await single(client, frames[: max(16, count // 4)], each), each) for each in CONCURRENCY])[1]
        rates: dict[str, list[float]] = {"single": [], "stream": []}
        for _ in range(rounds):
            rates["single"].append(await single(client, frames, best))
            rates["stream"].append(await stream(client, frames))
            print(
                f"single, {best} at a time: {rates['single'][-1]:6.1f}/s   stream: {rates['stream'][-1]:6.1f}/s   "
                f"memory {sum(each.resident for each in processes(pid)) >> 20} MiB",
                flush=True,
            )
    ratios = [b / a for a, b in zip(rates["single"], rates["stream"], strict=True)]
    print(f"stream over single calls: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


async def single(client: AsyncClient, frames: list[bytes], concurrency: int) -> float:
    """Frames a second of single calls."""
    waiting: Iterator[bytes] = iter(frames)

    async def ask() -> None:
        for frame in waiting:
            await client.landmarks(frame)

    return len(frames) / await seconds_of(asyncio.gather(*(ask() for _ in range(concurrency))))


async def stream(client: AsyncClient, frames: list[bytes]) -> float:
    """Frames a second of a stream."""

    async def follow() -> None:
        identities = {face.id async for answer in client.track(frames) for face in answer.faces}
        assert identities == {1}, identities

    return len(frames) / await seconds_of(follow())


async def seconds_of(work: Any) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
