"""Error of the whole service, detector included, on annotated images: what a caller who sends no boxes gets.

Every image of the test split goes through the pipeline with the in-process engine, whose answers equal Triton's to the
last bit. A face counts as found when a detected face's box contains the mean of its points; the error is the mean over
the found faces.

    python -m bench.accuracy --data faces300w:/data/faces300w
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
from tqdm import tqdm

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
from train.datasets.source import DataSource
from train.evaluation.metrics import Array, inter_ocular, point_errors, report

REPOSITORY = Path(__file__).parents[1] / "model_repo"


def found_points(answer: Answer, face: AnnotatedFace) -> Array | None:
    """The points [N, 2] of the detected face whose box contains the mean of the true points; None if there is none."""
    x, y = face.points.mean(axis=0)
    for found in answer.faces:
        x1, y1, x2, y2 = found.box
        if x1 < x < x2 and y1 < y < y2:
            return found.points.astype(np.float64)
    return None


async def measure(faces: list[AnnotatedFace], yunet: Path | None, precision: Precision) -> None:
    """Runs the pipeline over the images and prints the figures."""
    by_image: dict[Path, list[AnnotatedFace]] = defaultdict(list)
    for face in faces:
        if isinstance(face.image, Path):  # the pipeline reads files
            by_image[face.image].append(face)
    engine = LocalEngine(model_path(REPOSITORY, precision=precision))
    await engine.start()
    predicted, given, found = [], [], []
    with ThreadPoolExecutor(1) as executor:
        detector: Detector = (
            ThreadedDetector(YuNet(yunet), executor)
            if yunet
            else NetworkDetector(LocalDetectorBackend(engine, model_path(REPOSITORY, kind=DetectorMetadata)), executor)
        )
        pipeline = Pipeline(
            EngineLandmarker(engine, executor),
            detector,
            executor,
            PipelineLimits(ImageLimits(1 << 30, 1 << 30), max_faces=64, min_score=DEFAULT_MIN_SCORE),
        )
        for path, on_image in tqdm(by_image.items(), unit="image", leave=False):
            answer = await pipeline.detect(path.read_bytes(), Options(), Deadline.after(60))
            boxes = tuple(tuple(face.box.tolist()) for face in on_image)
            answer_to_boxes = await pipeline.detect(path.read_bytes(), Options(boxes=boxes), Deadline.after(60))
            for face, in_box in zip(on_image, answer_to_boxes.faces, strict=True):
                points = found_points(answer, face)
                if points is not None:
                    found.append(face)
                    predicted.append(points)
                    given.append(in_box.points.astype(np.float64))
    await engine.close()
    print(f"{'YuNet' if yunet else 'own detector'}: {len(found)} of {len(faces)} faces found")
    truth = np.array([face.points for face in found])
    lengths = {
        "inter-ocular distance": inter_ocular(truth, WFLW98),
        "root of the area of the points' box": size_of(np.array([face.tight_box for face in found])),
    }
    for name, length in lengths.items():
        for boxes_of, answered in (("detected", predicted), ("given", given)):
            figures = report(point_errors(np.array(answered), truth, length))
            print(f"boxes {boxes_of}, by the {name}: NME {figures.nme:.3f} %, FR@10 {figures.fr10:.2f} %")


def main() -> int:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, metavar="FORMAT:PATH", help="an annotated data set, such as faces300w:/data/faces300w"
    )
    parser.add_argument(
        "--yunet", type=Path, help="detect with this ONNX file of YuNet instead of the shipped detector"
    )
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="float32", help="of the landmark network [%(default)s]"
    )
    args = parser.parse_args()
    asyncio.run(measure(DataSource.parse(args.data).test_faces(), args.yunet, args.precision))
    return 0


if __name__ == "__main__":
    sys.exit(main())
