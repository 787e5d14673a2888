"""`landmarks track` beside MediaPipe's FaceLandmarker in its mode for videos: frames a second of the same 1080p clip.

The clip is a sequence of JPEG files of a face that moves, which both read, decode and follow. The rate of `landmarks
track` is that of the further frames: the time of a run of few frames is subtracted from that of many, so that starting
does not count, as it does not for MediaPipe. It tracks with the network in its own process, and with a running service.

    python -m bench.tracking --cache ~/.cache/peers
    python -m bench.tracking --rounds 1 --frames 60                    without MediaPipe
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.measuring import (
    ROOT,
    Prepare,
    Rounds,
    add_window_arguments,
    bench_parser,
    machine,
    measure_rounds,
    spread,
)
from bench.mediapipe_peer import VERSION, MediaPipe, Worker
from bench.services import started
from bench.stream import pictures

WAY = "FaceLandmarker, video"
FEW = 20
"""Frames of the run that is subtracted."""


def write_clip(folder: Path, frames: int) -> list[Path]:
    """The JPEG files of so many frames; the face moves to and fro."""
    there = pictures()
    cycle = [*there, *there[-2:0:-1]]
    paths = [folder / f"clip.{number:04}.jpg" for number in range(1, frames + 1)]
    for number, path in enumerate(paths):
        path.write_bytes(cycle[number % len(cycle)])
    return paths


def prepare_track(clip: Path, frames: int, *flags: str) -> Prepare[float]:
    """Frames a second of `landmarks track`."""

    def seconds(count: int) -> float:
        output = ("-o", str(clip / "clip.tracks.json"), "--overwrite", "--frames", f"1-{count}")
        command = (sys.executable, "-m", "service", "track", str(clip / "clip.####.jpg"), *output, *flags)
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    return lambda: lambda: (frames - FEW) / (seconds(frames) - seconds(FEW))


def prepare_worker(worker: Worker, seconds: float) -> Prepare[float]:
    return lambda: lambda: worker.work(seconds).per_second


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = bench_parser("bench.tracking", __doc__)
    add_window_arguments(parser, rounds=3, seconds=10.0, warm_up=False)
    parser.add_argument("--frames", type=int, default=200, help=f"of the clip, more than {FEW} [%(default)s]")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of the environment of MediaPipe: a gigabyte")
    parser.add_argument("--face-landmarker", type=Path, metavar="FILE", help="model of FaceLandmarker [a packaged one]")
    args = parser.parse_args()
    if args.frames <= FEW:
        parser.error(f"--frames must be more than {FEW}")

    paths: dict[str, Prepare[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        frames = write_clip(folder, args.frames)
        paths["landmarks track, --engine local"] = prepare_track(folder, args.frames, "--engine", "local")
        url = stack.enter_context(started()).urls["gRPC"]
        paths["landmarks track, --url of a service"] = prepare_track(folder, args.frames, "--url", url)
        if args.cache:
            worker = stack.enter_context(MediaPipe(args.cache, args.face_landmarker).worker(WAY, frames))
            paths[f"MediaPipe {VERSION}, {WAY}"] = prepare_worker(worker, args.seconds)
        measured = measure_rounds(paths, args.rounds, args.max_foreign, warm_up=False)

    print(machine())
    print(f"{args.frames} frames of 1920 x 1080 pixels as JPEG files, one face; {args.rounds} rounds\n")
    print_table(measured)
    return 0


def print_table(measured: Rounds[str, float]) -> None:
    """A row for each way."""
    print("| | frames/s |\n| --- | ---: |")
    for path in measured.windows:
        print(f"| {path} | {spread(measured.values(path, float))} |")
    print(f"\n{measured.left_out}")


if __name__ == "__main__":
    sys.exit(main())
