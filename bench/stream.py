"""Frames a second through the stream `Track`, beside the same frames as single calls, and the memory of the service.

    python -m bench.stream
    python -m bench.stream --rounds 0 --frames 1000      the memory alone

Starts a service of its own, with the network in its process. Rounds of both kinds alternate, so that what else the
machine does meets both. Then one stream has all frames: the exit status is 1 where the service has grown by more than a
tenth between its hundredth frame and its last.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np
from tqdm import tqdm

from bench.measuring import bench_parser, machine, processes, spread
from bench.services import started
from landmarks.golden import golden_crop
from landmarks_client import AsyncClient

CONCURRENCY: Final = (1, 2, 4, 8)
"""Single calls side by side, of which the best counts."""


MAX_GROWTH: Final = 0.10
"""Share by which the service may grow in the long stream."""
SETTLED: Final = 100
"""Frames after which its memory is that of a stream."""


def main() -> int:
    """Prints one line for each round, the ratio of their medians, and the memory."""
    parser = bench_parser("bench.stream", __doc__)
    parser.add_argument("--frames", type=int, default=1000, help=f"of the long stream, over {SETTLED} [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, which have these frames together [%(default)s]")
    options = parser.parse_args()
    if options.frames <= SETTLED:
        parser.error(f"--frames must be more than {SETTLED}")
    with started(engine="local") as service:
        return asyncio.run(measure(service.urls["gRPC"], service.pid, options.frames, options.rounds))


def pictures() -> list[bytes]:
    """JPEG files of 1920 x 1080 pixels: a face that moves before noise."""
    files = []
    for step in range(8):
        noise = np.random.default_rng(step).normal(110, 8, (1080, 1920, 1)).clip(0, 255).astype(np.uint8)
        image = np.repeat(noise, 3, axis=2)
        image[200:712, 600 + 6 * step : 1112 + 6 * step] = cv2.resize(golden_crop(), (512, 512))
        files.append(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
    return files


async def measure(url: str, pid: int, count: int, rounds: int) -> int:
    """`count`: frames. Returns the exit status."""
    files = pictures()
    frames = [files[i % len(files)] for i in range(count)]
    print(machine())
    async with AsyncClient(url, timeout=120) as client:
        await stream(client, frames[:16])
        if rounds:
            await compare(client, frames[: count // rounds], rounds)
        return await check_memory(client, frames, pid)


async def compare(client: AsyncClient, frames: list[bytes], rounds: int) -> None:
    """Streams beside single calls."""
    best = max([(await single(client, frames[: max(16, len(frames) // 4)], each), each) for each in CONCURRENCY])[1]
    rates: dict[str, list[float]] = {"single": [], "stream": []}
    for _ in range(rounds):
        rates["single"].append(await single(client, frames, best))
        rates["stream"].append(await stream(client, frames))
        single_rate, stream_rate = rates["single"][-1], rates["stream"][-1]
        print(f"single, {best} at a time: {single_rate:6.1f}/s   stream: {stream_rate:6.1f}/s", flush=True)
    ratios = [b / a for a, b in zip(rates["single"], rates["stream"], strict=True)]
    print(f"stream over single calls: {spread(ratios, 2)}")


async def check_memory(client: AsyncClient, frames: list[bytes], pid: int) -> int:
    """Returns 1 when the service has grown too much in one stream of all frames."""
    memory = []
    with tqdm(total=len(frames), unit="frame", leave=False, disable=None) as bar:
        async for _ in client.track(frames):
            bar.update()
            if bar.n % SETTLED == 0 or bar.n == len(frames):
                memory.append(sum(each.resident for each in processes(pid)))
    growth = memory[-1] / memory[0] - 1
    megabytes = f"{memory[0] / 1e6:.0f} MB after {SETTLED} frames, {memory[-1] / 1e6:.0f} MB after {len(frames)}"
    print(f"one stream: {megabytes}, at most {max(memory) / 1e6:.0f} MB: {growth:+.1%}")
    return 1 if growth > MAX_GROWTH else 0


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
    sys.exit(main())
