"""Face detectors side by side, in one run: recall, false boxes and milliseconds, ours, YuNet and OpenCV's cascade.

The true boxes of the data set are YuNet's own, at a lower threshold: its recall here says that it repeats itself. What
another detector finds where YuNet saw nothing counts as false, though some of it is a face.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from bench.cascade import Cascade
from landmarks.crop import Crop, warp
from landmarks.detection import find_faces
from landmarks.runtime import DetectorNetwork
from service.detectors.yunet import YuNet
from train.datasets.boxes import size_of
from train.datasets.image import RgbImage, read_image
from train.datasets.source import DataSource
from train.detection.evaluate import Find, Judged, figures, judge
from train.detection.photographs import Photograph, load
from train.detection.scenes import SEEN, clipped, share_within, transform_boxes

CROWD = (1150, 2048)
"""Height and width of the crowd."""
CROWD_TILE = 64
"""Side in pixels of each photograph in it."""
CROWD_MARGIN = 2.4
"""Side of what a tile shows, over the longer side of its photograph's largest face."""
CROWD_LEAST_SIDE = 12.0
"""Pixels; smaller faces of the crowd need not be found."""


def crowd(photographs: Sequence[Photograph]) -> tuple[RgbImage, Photograph]:
    """A picture of hundreds of small faces, a photograph's largest in every tile, and its boxes."""
    height, width = CROWD
    picture = np.zeros((height, width, 3), np.uint8)
    boxes, scores = [], []
    places = [(y, x) for y in range(0, height - CROWD_TILE + 1, CROWD_TILE) for x in range(0, width, CROWD_TILE)]
    with_faces = (photo for photo in photographs if len(photo.boxes))
    for (top, left), photo in zip(places, with_faces, strict=False):
        largest = photo.boxes[size_of(photo.boxes).argmax()]
        matrix = Crop.around(largest, CROWD_MARGIN, CROWD_TILE).image_to_crop()
        picture[top : top + CROWD_TILE, left : left + CROWD_TILE] = warp(read_image(photo.path), matrix, CROWD_TILE)
        shown = transform_boxes(matrix, photo.boxes)
        kept = share_within(shown, CROWD_TILE) >= SEEN
        boxes.append(clipped(shown, CROWD_TILE)[kept] + np.array([left, top, left, top]))
        scores.append(photo.scores[kept])
    return picture, Photograph(Path("crowd"), np.concatenate(boxes), np.concatenate(scores))


@dataclass(eq=False)
class Contender:
    """A detector, how its detections were judged, and how long each photograph took."""

    name: str
    find: Find
    judged: list[Judged] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def meet(self, image: RgbImage, photo: Photograph) -> None:
        """Detects, timed, and judges."""
        start = time.perf_counter()
        found = self.find(image)
        self.seconds.append(time.perf_counter() - start)
        self.judged.append(judge(found, photo))


def contenders(args: argparse.Namespace) -> list[Contender]:
    """Those that there are files for."""
    network = DetectorNetwork(args.model, args.threads)
    spec = network.metadata.spec
    ours = Contender(f"ours ({network.metadata.run_id})", lambda image: find_faces(image, network, spec))
    yunet = [Contender("YuNet", YuNet(args.yunet))] if args.yunet else []
    return [ours, *yunet, Contender("OpenCV's cascade", Cascade())]


def main() -> int:
    """Measures and prints two tables of Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.detector", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="ONNX file of landmarks-train export-detector")
    parser.add_argument("--data", required=True, metavar="FORMAT:PATH", help="a data set with a box for every face")
    parser.add_argument("--split", default="val", help="of the data set [%(default)s]")
    parser.add_argument("--yunet", type=Path, help="ONNX file of the YuNet detector")
    parser.add_argument("--threads", type=int, default=1, help="of each detector [%(default)s]")
    args = parser.parse_args()

    cv2.setNumThreads(args.threads)
    photographs = load(DataSource.parse(args.data), args.split)
    detectors = contenders(args)
    for photo in tqdm(photographs, unit="photo", leave=False):
        image = read_image(photo.path)
        for detector in detectors:
            detector.meet(image, photo)
    print_photographs(detectors, args.threads)
    print_crowd(detectors, *crowd(photographs))
    print_vga(detectors)
    return 0


def print_photographs(detectors: Sequence[Contender], threads: int) -> None:
    first = figures(detectors[0].judged, 0.0)
    print(f"{first.photographs} photographs, {first.faces} faces; {threads} thread(s)\n")
    print("| detector | recall | false boxes per photograph | mean IoU | ms, median |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for one in detectors:
        row, milliseconds = figures(one.judged, 0.0), 1e3 * float(np.median(one.seconds))
        print(
            f"| {one.name} | {row.recall:.4f} | {row.false_per_photograph:.3f} | {row.mean_iou:.3f} "
            f"| {milliseconds:.1f} |"
        )


def print_crowd(detectors: Sequence[Contender], picture: RgbImage, truth: Photograph) -> None:
    print(f"\na crowd of {len(truth.boxes)} small faces in {picture.shape[1]} x {picture.shape[0]} pixels\n")
    print("| detector | boxes | recall | false boxes | ms |\n| --- | ---: | ---: | ---: | ---: |")
    for one in detectors:
        one.find(picture)
        start = time.perf_counter()
        found = one.find(picture)
        milliseconds = 1e3 * (time.perf_counter() - start)
        row = figures([judge(found, truth, CROWD_LEAST_SIDE)], 0.0)
        boxes, false = len(found.boxes), row.false_per_photograph
        print(f"| {one.name} | {boxes} | {row.recall:.4f} | {false:.0f} | {milliseconds:.0f} |")


def print_vga(detectors: Sequence[Contender], rounds: int = 30) -> None:
    """Interleaved, so that whatever else the machine does falls on all alike."""
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    seconds: dict[str, list[float]] = {one.name: [] for one in detectors}
    for _ in range(rounds):
        for one in detectors:
            start = time.perf_counter()
            one.find(picture)
            seconds[one.name].append(time.perf_counter() - start)
    print("\n640 x 480 pixels without a face\n\n| detector | ms, median | ms, least |\n| --- | ---: | ---: |")
    for name, values in seconds.items():
        print(f"| {name} | {1e3 * float(np.median(values)):.1f} | {1e3 * min(values):.1f} |")


if __name__ == "__main__":
    sys.exit(main())
