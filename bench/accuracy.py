"""Error of the whole service, detector included, on annotated images: what a caller who sends no boxes gets.

Every image of the test split goes through the pipeline with the in-process engine, whose answers equal Triton's to the
last bit. A face counts as found when a detected face's box contains the mean of its points; the error is the mean over
the found faces. Of a data set that has a box for every face (or no face at all), recall and false boxes are printed as
well, counted as `landmarks-train evaluate-detector` does.

    python -m bench.accuracy --data faces300w:/data/faces300w

With --close-ups, each of 200 faces is cut out so that its box fills a half of the frame up to more than all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

import cv2
import numpy as np
from tqdm import tqdm

from landmarks.detection import Detections
from landmarks.detector import DetectorMetadata
from landmarks.layout import WFLW98
from landmarks.repository import model_path
from landmarks.tensors import Precision
from service.answer import Answer
from service.deadline import Deadline
from service.detectors.backends import LocalDetectorBackend
from service.detectors.network import NetworkDetector
from service.detectors.port import Detector
from service.detectors.yunet import ThreadedDetector, YuNet
from service.engines.local import LocalEngine
from service.images.limits import ImageLimits
from service.landmarker import EngineLandmarker
from service.limits import DEFAULT_MIN_SCORE
from service.pipeline import Pipeline, PipelineLimits
from service.request import Options
from train.datasets.boxes import size_of
from train.datasets.face import AnnotatedFace
from train.datasets.image import RgbImage, read_image
from train.datasets.source import DataSource
from train.detection.evaluate import Matches, match, metrics_at
from train.detection.images import FORMAT, BoxedImage, load_images
from train.evaluation.metrics import Array, inter_ocular, point_errors, report

REPOSITORY = Path(__file__).parents[1] / "model_repo"

CLOSE_UPS: Final = 200
"""Faces whose close-ups are searched: the first whose whole surroundings the image shows."""
FILLS: Final = (0.5, 0.75, 1.0, 1.2)
"""Longer side of a face's box over the side of its close-up: beyond 1 forehead and chin are cut away."""


def found_points(answer: Answer, center: Array) -> Array | None:
    """The points [N, 2] of the detected face whose box contains a face's center [2]; None if there is none.

    Of several, which faces beside each other may have, that whose box has its middle nearest to the center.
    """
    boxes = np.array([found.box for found in answer.faces], np.float64).reshape(-1, 4)
    contains = ((boxes[:, :2] < center) & (center < boxes[:, 2:])).all(axis=1)
    if not contains.any():
        return None
    distance = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - center, axis=1)
    return answer.faces[int(np.where(contains, distance, np.inf).argmin())].points.astype(np.float64)


@asynccontextmanager
async def service(repository: Path, yunet: Path | None, precision: Precision) -> AsyncIterator[Pipeline]:
    """The service's pipeline with its default settings, but for the most faces of an image."""
    engine = LocalEngine(model_path(repository, precision=precision))
    await engine.start()
    with ThreadPoolExecutor(1) as executor:
        detector: Detector = (
            ThreadedDetector(YuNet(yunet), executor)
            if yunet
            else NetworkDetector(LocalDetectorBackend(engine, model_path(repository, kind=DetectorMetadata)), executor)
        )
        limits = PipelineLimits(ImageLimits(1 << 30, 1 << 30), max_faces=64, min_score=DEFAULT_MIN_SCORE)
        yield Pipeline(EngineLandmarker(engine, executor), detector, executor, limits)
    await engine.close()


async def detect(pipeline: Pipeline, data: bytes, options: Options | None = None) -> Answer:
    return await pipeline.detect(data, options or Options(), Deadline.after(60))


# ---------------------------------------------------------------- images as they are


@dataclass(eq=False)
class Figures:
    """What is counted on a data set."""

    found: list[AnnotatedFace] = field(default_factory=list)
    predicted: list[Array] = field(default_factory=list)
    """Points [N, 2] of the found faces in detected boxes."""
    given: list[Array] = field(default_factory=list)
    """The same in given boxes."""
    matches: list[Matches] = field(default_factory=list)
    """Of the images with a box for every face."""

    def print(self, faces: int) -> None:
        """`faces`: how many are annotated."""
        if self.matches:
            row = metrics_at(self.matches, 0.0)
            print(
                f"{row.photographs} images, {row.faces} boxes to find: recall {row.recall:.4f} "
                f"at {row.false_per_photograph:.3f} false boxes per image, mean IoU {row.mean_iou:.3f}"
            )
        if not faces:
            return
        print(f"{len(self.found)} of {faces} annotated faces found ({len(self.found) / faces:.4f})")
        truth = np.array([face.points for face in self.found])
        lengths = {
            "inter-ocular distance": inter_ocular(truth, WFLW98),
            "root of the area of the points' box": size_of(np.array([face.tight_box for face in self.found])),
        }
        for name, length in lengths.items():
            for boxes_of, answered in (("detected", self.predicted), ("given", self.given)):
                figures = report(point_errors(np.array(answered), truth, length))
                print(f"boxes {boxes_of}, by the {name}: NME {figures.nme:.3f} %, FR@10 {figures.fr10:.2f} %")


async def measure(pipeline: Pipeline, faces: Sequence[AnnotatedFace], boxed: Sequence[BoxedImage]) -> Figures:
    """Sends every image."""
    by_image: dict[Path, list[AnnotatedFace]] = {image.path: [] for image in boxed}
    for face in faces:
        if isinstance(face.image, Path):  # the pipeline reads files
            by_image.setdefault(face.image, []).append(face)
    boxes_of = {image.path: image for image in boxed}
    figures = Figures()
    for path, on_image in tqdm(by_image.items(), unit="image", leave=False):
        answer = await detect(pipeline, path.read_bytes())
        if path in boxes_of:
            figures.matches.append(match(detections(answer), boxes_of[path]))
        if not on_image:
            continue
        boxes = tuple(tuple(face.box.tolist()) for face in on_image)
        answer_to_boxes = await detect(pipeline, path.read_bytes(), Options(boxes=boxes))
        for face, in_box in zip(on_image, answer_to_boxes.faces, strict=True):
            points = found_points(answer, face.points.mean(axis=0))
            if points is not None:
                figures.found.append(face)
                figures.predicted.append(points)
                figures.given.append(in_box.points.astype(np.float64))
    return figures


def detections(answer: Answer) -> Detections:
    """The boxes of the answered faces."""
    boxes = np.array([face.box for face in answer.faces], np.float64).reshape(-1, 4)
    return Detections(boxes, np.array([face.box_score for face in answer.faces], np.float64))


# ---------------------------------------------------------------- close-ups


def close_up(image: RgbImage, box: Array, fill: float) -> tuple[RgbImage, Array] | None:
    """A square part of an image in which an xyxy box fills `fill` of the side, and its corner [2].

    The box is in its middle, or as near to it as the image allows. None where the image is too small.
    """
    side = round(float((box[2:] - box[:2]).max()) / fill)
    size = np.array([image.shape[1], image.shape[0]])
    if (size < side).any():
        return None
    left, top = np.clip(((box[:2] + box[2:] - side) / 2).round(), 0, size - side).astype(int).tolist()
    return image[top : top + side, left : left + side], np.array([left, top], np.float64)


async def measure_close_ups(pipeline: Pipeline, faces: Sequence[AnnotatedFace]) -> dict[float, tuple[int, int]]:
    """The faces found and searched, by how much of the frame they fill."""
    counts: dict[float, list[bool]] = defaultdict(list)
    for face in tqdm(faces, unit="face", leave=False):
        image = read_image(face.image)
        frames = [close_up(image, face.box, fill) for fill in FILLS]
        for fill, frame in zip(FILLS, frames, strict=True):
            if frame is None or frames[0] is None or len(counts[fill]) == CLOSE_UPS:
                continue
            pixels, corner = frame
            data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
            answer = await detect(pipeline, data)
            counts[fill].append(found_points(answer, face.points.mean(axis=0) - corner) is not None)
    return {fill: (sum(found), len(found)) for fill, found in counts.items()}


# ---------------------------------------------------------------- command line


async def run(args: argparse.Namespace) -> None:
    """Measures and prints what is asked for."""
    source = DataSource.parse(args.data)
    boxed = load_images(source, source.format.test) if source.name == FORMAT else []
    faces = source.test_faces() if not boxed or any(len(image.boxes) for image in boxed) else []
    print("YuNet" if args.yunet else "own detector")
    async with service(args.repository, args.yunet, args.precision) as pipeline:
        if args.close_ups:
            for fill, (found, searched) in (await measure_close_ups(pipeline, faces)).items():
                print(f"faces that fill {fill:g} of the frame: {found} of {searched} found")
        else:
            (await measure(pipeline, faces, boxed)).print(len(faces))


def main() -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, metavar="FORMAT:PATH", help="an annotated data set, such as faces300w:/data/faces300w"
    )
    parser.add_argument("--close-ups", action="store_true", help="search close-ups of the set's faces instead")
    parser.add_argument(
        "--yunet", type=Path, help="detect with this ONNX file of YuNet instead of the shipped detector"
    )
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="float32", help="of the landmark network [%(default)s]"
    )
    parser.add_argument(
        "--repository", type=Path, default=REPOSITORY, help="the model repository [that of this checkout]"
    )
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
