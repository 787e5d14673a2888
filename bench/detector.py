"""Compares face detectors in one run: recall, false boxes and CPU time of ours, YuNet and OpenCV's cascade.

The true boxes of the data set were found by YuNet at a lower threshold, so that YuNet's own recall here only shows that
it is consistent. A detection where YuNet found nothing counts as false, although some of these are faces.

    python -m bench.detector --model model_repo/detector/1/model.onnx --data faces300w:/data/faces300w
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
from landmarks.detection import Detections, find_faces
from landmarks.runtime import DetectorNetwork
from landmarks.search import HINT_SCORE, Search
from landmarks.size import Size
from landmarks.tensors import MAX_DETECTION_SIDE
from service.detectors.yunet import YuNet
from train.datasets.boxes import clipped, size_of, transform_boxes, visible_share
from train.datasets.image import RgbImage, read_image
from train.datasets.source import DataSource
from train.detection.evaluate import Detector, Matches, match, metrics_at
from train.detection.images import BoxedImage, load_images
from train.detection.mosaic import MIN_VISIBLE

CROWD = (1150, 2048)
"""Height and width in pixels of the synthetic crowd image."""
CROWD_TILE = 64
"""Side in pixels of each of its tiles."""
CROWD_MARGIN = 2.4
"""Side of the region that a tile shows, over the longer side of the image's largest face."""
CROWD_MIN_SIDE = 12.0
"""Pixels; smaller faces of the crowd need not be found."""


def crowd(images: Sequence[BoxedImage]) -> tuple[RgbImage, BoxedImage]:
    """An image with hundreds of small faces, in every tile the largest of one image, and its boxes."""
    height, width = CROWD
    mosaic = np.zeros((height, width, 3), np.uint8)
    boxes, scores = [], []
    corners = [(y, x) for y in range(0, height - CROWD_TILE + 1, CROWD_TILE) for x in range(0, width, CROWD_TILE)]
    with_faces = (each for each in images if len(each.boxes))
    for (top, left), truth in zip(corners, with_faces, strict=False):
        largest = truth.boxes[size_of(truth.boxes).argmax()]
        matrix = Crop.around(largest, CROWD_MARGIN, Size.square(CROWD_TILE)).image_to_crop()
        tile = warp(read_image(truth.path), matrix, Size.square(CROWD_TILE))
        mosaic[top : top + CROWD_TILE, left : left + CROWD_TILE] = tile
        shown = transform_boxes(matrix, truth.boxes)
        kept = visible_share(shown, CROWD_TILE) >= MIN_VISIBLE
        boxes.append(clipped(shown, CROWD_TILE)[kept] + np.array([left, top, left, top]))
        scores.append(truth.scores[kept])
    return mosaic, BoxedImage(Path("crowd"), np.concatenate(boxes), np.concatenate(scores))


@dataclass(eq=False)
class Candidate:
    """A detector, with the evaluation of its detections and the seconds of CPU time for each image."""

    name: str
    detect: Detector
    matches: list[Matches] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def measure(self, image: RgbImage, truth: BoxedImage) -> None:
        """Detects the faces of one image, takes the time, and evaluates."""
        start = time.process_time()
        found = self.detect(image)
        self.seconds.append(time.process_time() - start)
        self.matches.append(match(found, truth))


def as_served(network: DetectorNetwork) -> Detector:
    """Searches an image as the service does: see `service.detectors.network`."""
    spec = network.metadata.spec

    def detect(image: RgbImage) -> Detections:
        search = Search(image, spec, MAX_DETECTION_SIDE)
        while (part := search.next_part()) is not None:
            search.add(find_faces(part, network, spec, HINT_SCORE))
        return search.faces()

    return detect


def candidates(args: argparse.Namespace) -> list[Candidate]:
    """The detectors whose files are given."""
    network = DetectorNetwork(args.model, args.threads)
    ours = Candidate(f"ours ({network.metadata.run_id})", as_served(network))
    yunet = [Candidate("YuNet", YuNet(args.yunet))] if args.yunet else []
    return [ours, *yunet, Candidate("OpenCV's cascade", Cascade())]


def main() -> int:
    """Measures and prints three tables in Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.detector", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        help="ONNX file of our detector, as landmarks-train export-detector writes it",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="FORMAT:PATH",
        help="a data set with a box for every face, such as faces300w:/data/faces300w",
    )
    parser.add_argument("--split", default="val", help="split of the data set [%(default)s]")
    parser.add_argument("--yunet", type=Path, help="also measure YuNet, from this ONNX file")
    parser.add_argument("--threads", type=int, default=1, help="threads of each detector [%(default)s]")
    args = parser.parse_args()

    cv2.setNumThreads(args.threads)
    images = load_images(DataSource.parse(args.data), args.split)
    detectors = candidates(args)
    for truth in tqdm(images, unit="image", leave=False):
        image = read_image(truth.path)
        for detector in detectors:
            detector.measure(image, truth)
    print_images(detectors, args.threads)
    print_crowd(detectors, *crowd(images))
    print_vga(detectors)
    return 0


def print_images(detectors: Sequence[Candidate], threads: int) -> None:
    first = metrics_at(detectors[0].matches, 0.0)
    print(f"{first.photographs} images, {first.faces} faces; {threads} thread(s)\n")
    print("| detector | recall | false boxes per image | mean IoU | CPU ms, median |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for one in detectors:
        row, milliseconds = metrics_at(one.matches, 0.0), 1e3 * float(np.median(one.seconds))
        print(
            f"| {one.name} | {row.recall:.4f} | {row.false_per_photograph:.3f} | {row.mean_iou:.3f} "
            f"| {milliseconds:.1f} |"
        )


def print_crowd(detectors: Sequence[Candidate], image: RgbImage, truth: BoxedImage) -> None:
    print(f"\na crowd of {len(truth.boxes)} small faces in {image.shape[1]} x {image.shape[0]} pixels\n")
    print("| detector | boxes | recall | false boxes | CPU ms |\n| --- | ---: | ---: | ---: | ---: |")
    for one in detectors:
        one.detect(image)
        start = time.process_time()
        found = one.detect(image)
        milliseconds = 1e3 * (time.process_time() - start)
        row = metrics_at([match(found, truth, CROWD_MIN_SIDE)], 0.0)
        boxes, false = len(found.boxes), row.false_per_photograph
        print(f"| {one.name} | {boxes} | {row.recall:.4f} | {false:.0f} | {milliseconds:.0f} |")


def print_vga(detectors: Sequence[Candidate], rounds: int = 30) -> None:
    """Interleaves the detectors, so that other work of the machine affects all alike."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    seconds: dict[str, list[float]] = {one.name: [] for one in detectors}
    for _ in range(rounds):
        for one in detectors:
            start = time.process_time()
            one.detect(image)
            seconds[one.name].append(time.process_time() - start)
    print("\n640 x 480 pixels without a face\n\n| detector | CPU ms, median | CPU ms, least |\n| --- | ---: | ---: |")
    for name, values in seconds.items():
        print(f"| {name} | {1e3 * float(np.median(values)):.1f} | {1e3 * min(values):.1f} |")


if __name__ == "__main__":
    sys.exit(main())
