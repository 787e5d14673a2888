"""Faces per second of the service, and of the same functions called directly in one process ("bare").

"bare" decodes the image, crops, runs the network and decodes the heatmaps in one thread of this process; the network
itself uses every core. The requests contain the face's box, so that the detector does not take part, unless
--no-boxes is given. Every round measures each path for a few seconds, one after the other, so that a ratio compares
neighbours in time; the medians over the rounds are printed, and the longest time in which no request was completed,
which shows whether the service stands still at times. The CPU time of a request by process says most where other
processes take part of the machine. "client" is this process, which also runs bare.

    python -m bench.throughput
    python -m bench.throughput --concurrency 1 --precision int8
    python -m bench.throughput --rounds 5 --seconds 60 --no-boxes
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
import numpy as np
import skimage.data
from tqdm import tqdm

from landmarks import compiled
from landmarks.codec import decode_output
from landmarks.crop import Crop, transform_points, warp
from landmarks.repository import model_path
from landmarks.runtime import Network
from landmarks.tensors import Precision
from landmarks_client import Client
from service.images.decode import decode_srgb
from service.images.limits import ImageLimits

ROOT = Path(__file__).parents[1]

Request = Callable[[], None]
"""Sends one request and checks its answer."""

PROCESSES = {
    "/heatmap/": "heatmap",
    "/decode/": "decode",
    "/detector/": "detector",
    "tritonserver": "Triton",
    "": "gateway",
}
"""Names of the service's processes, by the first of these that is part of a process's command."""
TICKS = os.sysconf("SC_CLK_TCK")

PORTRAIT_BOX = (178.0, 63.0, 268.0, 176.0)
"""The face's box in scikit-image's astronaut, of 512 pixels."""


def portrait(size: int) -> tuple[bytes, tuple[float, ...]]:
    """The public-domain portrait as a JPEG of `size` x `size` pixels, and the box of its face."""
    image = cv2.resize(skimage.data.astronaut(), (size, size), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return jpeg, tuple(v * size / 512 for v in PORTRAIT_BOX)


def bare_request(jpeg: bytes, box: tuple[float, ...], precision: Precision) -> Request:
    """The functions alone, without a server."""
    network = Network(model_path(ROOT / "model_repo", precision=precision))
    codec, scale = network.metadata.codec, network.metadata.crop_scale
    limits = ImageLimits(1 << 30, 1 << 30)

    def request() -> None:
        image = decode_srgb(jpeg, limits)
        crop = Crop.around(box, scale, codec.input_size)
        pixels = warp(image, crop.image_to_crop(), crop.size)
        decoded = decode_output(network(pixels[None]), codec)
        assert transform_points(crop.crop_to_image(), decoded.points[0]).shape == decoded.points[0].shape

    return request


def served_request(url: str, jpeg: bytes, box: tuple[float, ...] | None) -> Request:
    """A request of a client with a connection of its own. Without a box, the service detects the face."""
    client = Client(url)

    def request() -> None:
        assert len(client.landmarks(jpeg, boxes=[box] if box else []).faces) == 1

    return request


def connect_all(count: int, url: str, jpeg: bytes, box: tuple[float, ...] | None) -> list[Request]:
    """So many clients of one API, each with a connection of its own."""
    return [served_request(url, jpeg, box) for _ in range(count)]


def by_numpy(request: Request) -> Request:
    """The request, decoded by NumPy instead of C."""

    def slower() -> None:
        library, compiled.library = compiled.library, None
        try:
            request()
        finally:
            compiled.library = library

    return slower


class Measured(NamedTuple):
    per_second: float
    """Requests of all clients together."""
    longest_gap: float
    """Seconds between two completions that follow each other, of whichever clients."""
    cpu: dict[str, float]
    """CPU seconds of a request, by the name of a process."""


def cpu_seconds(pid: int) -> dict[str, float]:
    """What a process and its descendants have used so far, by name."""
    command = Path(f"/proc/{pid}/cmdline").read_text()
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    used = {next(name for part, name in PROCESSES.items() if part in command): (int(user) + int(system)) / TICKS}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            for name, seconds in cpu_seconds(int(child)).items():
                used[name] = used.get(name, 0.0) + seconds
    return used


def measure(clients: list[Request], seconds: float, service: int) -> Measured:
    """Each client sends its next request as soon as the last is answered. `service`: the id of its process."""
    before, own = cpu_seconds(service), time.process_time()
    start = time.perf_counter()

    def work(request: Request) -> list[float]:
        completed = []
        while time.perf_counter() - start < seconds:
            request()
            completed.append(time.perf_counter())
        return completed

    with ThreadPoolExecutor(len(clients)) as threads:
        completed = sorted(itertools.chain(*threads.map(work, clients)))
    used = {name: seconds - before.get(name, 0.0) for name, seconds in cpu_seconds(service).items()}
    used["client"] = time.process_time() - own
    cpu = {name: seconds / len(completed) for name, seconds in used.items()}
    return Measured(len(completed) / (completed[-1] - start), float(np.diff(completed, prepend=start).max()), cpu)


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """Runs `landmarks serve` on free ports; yields the ports of REST and gRPC."""
    with started() as (_, rest, rpc):
        yield rest, rpc


@contextmanager
def started(**settings: str) -> Iterator[tuple[int, int, int]]:
    """Runs `landmarks serve` on free ports; yields its process id and the ports of REST and gRPC."""
    settings = {"port": "0", "grpc_port": "0", "log_level": "warning", **settings}
    environment = {**os.environ, **{f"LANDMARKS_{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "service", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            text = ""
            while "curl" not in text:
                line = process.stdout.readline()
                if not line:
                    raise SystemExit("the service did not start; see its messages above")
                text += line
            rest, rpc = re.findall(r"(?:REST  http://|gRPC  )127\.0\.0\.1:(\d+)", text)
            yield process.pid, int(rest), int(rpc)
        finally:
            process.terminate()


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.throughput", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that are measured, after one to warm up [%(default)s]"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement [%(default)s]")
    parser.add_argument("--size", type=int, default=512, help="side of the JPEG in pixels [%(default)s]")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16], help="numbers of clients [1 4 16]")
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="float32", help="of the landmark network [%(default)s]"
    )
    parser.add_argument("--no-boxes", action="store_true", help="let the service detect the face")
    args = parser.parse_args()

    jpeg, face = portrait(args.size)
    box = None if args.no_boxes else face
    os.environ["LANDMARKS_PRECISION"] = args.precision
    with started() as (service, rest_port, rpc_port):
        bare = bare_request(jpeg, face, args.precision)
        paths: dict[str, Callable[[], list[Request]]] = {"bare": lambda: [bare]}
        if compiled.library is not None:
            paths["bare, decoded by NumPy"] = lambda: [by_numpy(bare)]
        for count in args.concurrency:
            paths |= {
                f"REST, concurrency {count}": partial(connect_all, count, f"http://127.0.0.1:{rest_port}", jpeg, box),
                f"gRPC, concurrency {count}": partial(connect_all, count, f"grpc://127.0.0.1:{rpc_port}", jpeg, box),
            }
        measured: dict[str, list[Measured]] = {name: [] for name in paths}
        with tqdm(total=(args.rounds + 1) * len(paths), unit="measurement", leave=False) as bar:
            for round_number in range(args.rounds + 1):
                for name, connect in paths.items():
                    found = measure(connect(), args.seconds if round_number else 1.0, service)
                    if round_number:  # the first round warms up
                        measured[name].append(found)
                    bar.update()
    print_table(measured, len(jpeg))
    return 0


def print_table(measured: dict[str, list[Measured]], jpeg_bytes: int) -> None:
    """Medians of the rates, and the longest gap of all rounds."""
    bare = np.array([each.per_second for each in measured["bare"]])
    print(f"one face in a JPEG of {jpeg_bytes:,} bytes; median of {len(bare)} rounds\n")
    processes = ("client", *dict.fromkeys(reversed(PROCESSES.values())))
    print(f"| path | faces/s | over bare | longest gap, ms | CPU, us: all | {' | '.join(processes)} |")
    print(f"| --- |{' ---: |' * (4 + len(processes))}")
    for name, values in measured.items():
        rates = np.array([each.per_second for each in values])
        gap = max(each.longest_gap for each in values)
        cpu = 1e6 * np.median([[each.cpu.get(process, 0.0) for process in processes] for each in values], axis=0)
        shares = " | ".join(f"{share:,.0f}" for share in [cpu.sum(), *cpu])
        print(f"| {name} | {np.median(rates):.1f} | {np.median(rates / bare):.2f} | {1e3 * gap:.0f} | {shares} |")


if __name__ == "__main__":
    sys.exit(main())
