"""Other landmark networks beside this project's, on one face in a JPEG: faces a second, and errors on the same faces.

Everything begins with the JPEG's bytes and ends with the points in the image, and has the defaults of its library,
threads included. "given" means that the face's box is known; the others look for the face themselves.

- MediaPipe: with --cache, a folder in which an environment of its own is made once. Its 468 or 478 points are a mesh's
  and have no counterparts among WFLW's 98: there is no error that could be compared.
- PFLD networks of 98 points in ONNX Runtime: with --pfld, their files.
- PyTorch, as the releases of papers run: HRNet-W18 and the compact network with random weights, whose speed needs no
  training. They have no error.

The error, in percent of the inter-ocular distance, is that of single answers on the faces of --data, about the boxes
that each was trained for: tight ones of the points for PFLD, a detector's for this project's.

    python -m bench.peers --cache ~/.cache/peers --pfld pfld_a.onnx pfld_b.onnx --data faces300w:/data/converted
    python -m bench.peers --rounds 1 --seconds 1
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from tqdm import tqdm

from bench.bare import Find, bare_request, finder, shipped_finder
from bench.measuring import (
    PACKAGES,
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
from bench.mediapipe_worker import WAYS
from bench.random_network import random_network
from bench.services import Box, Load, keep_busy, portrait, prepare_load, started
from landmarks.codec import CodecSpec
from landmarks.crop import Crop, invert, transform_points, warp
from landmarks.layout import WFLW98
from landmarks.repository import model_path
from landmarks.runtime import Network
from landmarks.tensors import Precision
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.image import RgbImage
from train.datasets.source import DataSource
from train.evaluation.metrics import Array, inter_ocular, point_errors, report
from train.evaluation.predict import torch_network
from train.evaluation.regressor import Regressor
from train.objectives import CellObjective
from train.samples.image_cache import ImageCache

PFLD_SCALE = 1.2
"""Side of a PFLD network's crop over the longer side of the tight box, as in its training."""


class Peer(NamedTuple):
    """What finds the points of a face in a process of its own, given its box."""

    load: Callable[[], Find]
    """Called once, there."""
    boxes: BoxKind | None
    """The kind of box that it was trained for; None for random weights."""


def shipped(precision: Precision) -> Find:
    """The network of this project, by the functions that the service runs."""
    return shipped_finder(Network(model_path(ROOT / "model_repo", precision=precision)))


def pfld(path: Path) -> Find:
    """One answer of such a network, without its mirror image."""
    regressor = Regressor(path, WFLW98)

    def find(image: RgbImage, box: Box) -> Array:
        matrix = Crop.around(box, PFLD_SCALE, regressor.size).image_to_crop()
        return transform_points(invert(matrix), next(regressor.answers(warp(image, matrix, regressor.size))))

    return find


def eager(backbone: str) -> Find:
    """PyTorch without compilation, with random weights."""
    return finder(torch_network(random_network(backbone), CellObjective()), CodecSpec(), crop_scale=1.25)


def peers_given(pfld_files: Sequence[Path]) -> dict[str, Peer]:
    """Those that are given the box, by name."""
    ours = {f"this project, in process, {each}": Peer(partial(shipped, each), "P2") for each in get_args(Precision)}
    small = {f"ONNX Runtime, {path.stem}": Peer(partial(pfld, path), "P1") for path in pfld_files}
    return (
        ours | small | {f"PyTorch, {name}": Peer(partial(eager, name), None) for name in ("hrnet_w18", "compact_deep")}
    )


# ---------------------------------------------------------------- in the process of a peer

_find: Find


def _load(load: Callable[[], Find]) -> None:
    global _find
    _find = load()


def _work(jpeg: bytes, box: Box, seconds: float) -> Load:
    return keep_busy([bare_request(_find, jpeg, box)], seconds)


def _error(faces: Sequence[AnnotatedFace], boxes: BoxKind) -> float:
    """The normalised mean error in percent of the inter-ocular distance."""
    images = ImageCache(limit=0)
    found = np.stack([_find(images.load(face.image), tuple(map(float, face.box_of(boxes)))) for face in faces])
    truth = np.stack([face.points for face in faces]).astype(np.float64)
    return report(point_errors(found, truth, inter_ocular(truth, WFLW98))).nme


@contextmanager
def process_of(peer: Peer) -> Iterator[ProcessPoolExecutor]:
    """A process of its own, so that the threads of one library take nothing from another's."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_load, initargs=(peer.load,)) as process:
        yield process


def prepare_peer(process: ProcessPoolExecutor, jpeg: bytes, box: Box, seconds: float) -> Prepare[Load]:
    return lambda: lambda: process.submit(_work, jpeg, box, seconds).result()


# ---------------------------------------------------------------- the table


def prepare_worker(worker: Worker, seconds: float) -> Prepare[Load]:
    return lambda: partial(worker.work, seconds)


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = bench_parser("bench.peers", __doc__)
    add_window_arguments(parser, rounds=5, seconds=3.0)
    parser.add_argument("--size", type=int, default=512, help="side of the JPEG in pixels [%(default)s]")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of the environment of MediaPipe: a gigabyte")
    parser.add_argument("--face-landmarker", type=Path, metavar="FILE", help="model of FaceLandmarker [a packaged one]")
    parser.add_argument("--pfld", type=Path, nargs="+", default=[], metavar="FILE", help="ONNX files of PFLD networks")
    parser.add_argument("--data", metavar="FORMAT:FOLDER", help="data set in WFLW's convention, for the errors")
    parser.add_argument("--faces", type=int, default=554, help="faces of --data [%(default)s]")
    args = parser.parse_args()

    jpeg, box = portrait(args.size)
    paths: dict[tuple[str, str], Prepare[Load]] = {}
    nme: dict[str, float] = {}
    with ExitStack() as stack:
        peers = peers_given(args.pfld)
        own = {name: stack.enter_context(process_of(peer)) for name, peer in peers.items()}
        for name, process in own.items():
            paths[name, "given"] = prepare_peer(process, jpeg, box, args.seconds)
        url = stack.enter_context(started()).urls["gRPC"]
        for clients in (1, 16):
            name = f"this project, served to {clients} client{'s' if clients > 1 else ''}"
            paths[name, "given"] = prepare_load(url, jpeg, [box], clients, args.seconds)
            paths[name, "found"] = prepare_load(url, jpeg, [], clients, args.seconds)
        if args.cache:
            mediapipe = MediaPipe(args.cache, args.face_landmarker)
            image = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "portrait.jpg"
            image.write_bytes(jpeg)
            for way in WAYS:
                worker = stack.enter_context(mediapipe.worker(way, [image]))
                paths[f"MediaPipe, {way}", "found"] = prepare_worker(worker, args.seconds)
        measured = measure_rounds(paths, args.rounds, args.max_foreign)
        if args.data:
            faces = DataSource.parse(args.data, None).test_faces()[: args.faces]
            trained = {name: peer.boxes for name, peer in peers.items() if peer.boxes}
            for name, boxes in tqdm(trained.items(), unit="network", desc="errors", leave=False, disable=None):
                nme[name] = own[name].submit(_error, faces, boxes).result()

    print(machine((*PACKAGES, "torch", "onnxruntime")), end="")
    print(f"MediaPipe {VERSION}\n" if args.cache else "no MediaPipe: --cache was not given\n")
    print(f"one face in a JPEG of {args.size} pixels; {args.rounds} rounds of {args.seconds:g} s\n")
    print_table(measured, nme)
    return 0


def print_table(measured: Rounds[tuple[str, str], Load], nme: dict[str, float]) -> None:
    """Boxes given first."""
    print(
        "| network | box | faces/s | ms, median | CPU ms a face | error, % |\n| --- | --- | ---: | ---: | ---: | ---: |"
    )
    for path in sorted(measured.windows, key=lambda path: path[1] == "found"):
        kept = measured.kept(path)
        latency = spread([1e3 * float(np.median(window.result.latencies)) for window in kept])
        cpu = spread([1e3 * sum(window.cpu.values()) / window.result.completed for window in kept])
        rate = spread(measured.values(path, lambda load: load.per_second))
        print(
            f"| {' | '.join(path)} | {rate} | {latency} | {cpu} | {f'{nme[path[0]]:.2f}' if path[0] in nme else ''} |"
        )
    print(f"\n{measured.left_out}")


if __name__ == "__main__":
    sys.exit(main())
