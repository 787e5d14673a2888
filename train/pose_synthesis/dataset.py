"""A data set of turned photographs: which poses, one picture after another, and the annotations they are listed in."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from train.datasets.face import AnnotatedFace
from train.datasets.image import read_image
from train.errors import DataError
from train.pose_synthesis.boxes import detector_box
from train.pose_synthesis.head import head_of, scaled
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.picture import Seen, look, turn, visible

Array = NDArray[np.floating[Any]]
Row = dict[str, Any]
"""A line of annotations.jsonl."""

LARGEST: Final = 10.0
"""Pixels per centimetre that a face is shrunk to where its photograph has more: 90 between the eyes' outer corners."""
EXTENT: Final = 38.4
"""Centimetres that a picture shows: twice a face's height."""
SIDED: Final = 8.0
"""Degrees of yaw from which on a photograph is turned only to the side that it shows more of."""
NOD: Final = 30.0
"""Degrees of pitch by which a photograph is turned at most."""
MISFIT: Final = 0.5
"""Centimetres, 6 % of the distance between the eyes' outer corners; a face whose points the model misses by more on
average is left out."""
SMALLEST: Final = 20.0
"""Pixels of width and height below which a face is left out."""
QUALITY: Final = 90
"""of the JPEGs"""


@dataclass(frozen=True)
class Plan:
    """What to make of every face. Angles in degrees."""

    yaw: tuple[float, float] = (30.0, 90.0)
    """smallest and largest, to either side"""
    pitch: tuple[float, float] = (-30.0, 30.0)
    """down is negative"""
    per_face: int = 2
    """pictures of each face; its yaws are spread over the range"""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Job:
    """What every face's pictures have in common."""

    model: Path
    margins: Array
    """[N, 4] of detector's boxes about the points"""
    plan: Plan
    out: Path
    split: str
    source: str


def write(faces: Sequence[AnnotatedFace], job: Job, workers: int) -> Iterator[int]:
    """Writes `job.out`/images and `job.out`/annotations.jsonl; yields, face by face, how many pictures it gave.

    The annotations get their name last: a folder whose making was interrupted is no data set. What is written depends
    on the plan alone, not on the workers. Raises DataError for a photograph that cannot be read.
    """
    (job.out / "images").mkdir(parents=True, exist_ok=True)
    unfinished = job.out / "annotations.jsonl.part"
    with unfinished.open("w", encoding="utf-8") as file:
        for rows in _in_order(faces, job, workers):
            file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
            yield len(rows)
    unfinished.replace(job.out / "annotations.jsonl")


def _in_order(faces: Sequence[AnnotatedFace], job: Job, workers: int) -> Iterator[list[Row]]:
    if workers <= 1:
        yield from map(write_face, repeat(job), range(len(faces)), faces)
        return
    # new processes rather than forks, which would take over locks of OpenCV's threads; they inherit that Ctrl-C is
    # ignored: the face in hand is finished, and the process that started them says what there is to say
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(0,))
    heeding = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        rows = pool.map(write_face, repeat(job), range(len(faces)), faces)
    finally:
        signal.signal(signal.SIGINT, heeding)
    try:
        yield from rows
    except BrokenExecutor as error:
        raise DataError("a process of --workers died, perhaps for want of memory: try fewer") from error
    finally:
        pool.shutdown(cancel_futures=True)


def write_face(job: Job, number: int, face: AnnotatedFace) -> list[Row]:
    """Writes the pictures of the data set's face `number`; returns their lines of annotations.jsonl.

    None for a face that is too small or that the model does not fit.
    """
    if np.ptp(face.points, axis=0).min() < SMALLEST:
        return []
    head = head_of(_model(job.model), face.points)
    if head.misfit > MISFIT:
        return []
    rng = np.random.default_rng([job.plan.seed, number])
    photo = read_image(face.image)
    factor = min(1.0, LARGEST / head.pose.scale)
    if factor < 1:
        # by this very factor, which a size in whole pixels would round
        photo = np.asarray(cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        head = scaled(head, factor)
    seen = look(photo, head)
    name = Path(face.image.name).stem
    poses = draw_poses(job.plan, head.pose.angles, rng)
    return [_write_picture(job, seen, pose, f"{name}_{number}_{i}.jpg", rng) for i, pose in enumerate(poses)]


@cache
def _model(path: Path) -> FaceModel:
    return FaceModel.load(path)


def draw_poses(plan: Plan, own: tuple[float, float, float], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Yaw and pitch of each picture of a face, given the photograph's own angles."""
    (low, high), count = plan.yaw, plan.per_face
    yaws = low + (high - low) * (np.arange(count) + rng.random(count)) / count
    sides = rng.choice([-1.0, 1.0], count)
    if abs(own[0]) > SIDED:
        sides = np.full(count, np.sign(own[0]))
    pitches = np.clip(rng.uniform(*plan.pitch, count), own[1] - NOD, own[1] + NOD)
    return [(float(yaw * side), float(pitch)) for yaw, side, pitch in zip(yaws, sides, pitches, strict=True)]


def _write_picture(job: Job, seen: Seen, angles: tuple[float, float], name: str, rng: np.random.Generator) -> Row:
    head = seen.head
    pose = head.at(*angles)
    size = round(EXTENT * pose.scale)
    box = detector_box(head.carried(pose).points, job.margins, rng)
    corner = np.round((box[:2] + box[2:] - size) / 2)
    pose = replace(pose, shift=pose.shift - corner)
    picture, depth = turn(seen, pose, size)
    carried = head.carried(pose)
    path = job.out / "images" / name
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise DataError(f"{path}: cannot be written")
    face = {
        "points98": carried.points.round(2).tolist(),
        "visible98": visible(carried, depth).astype(int).tolist(),
        "yaw": round(angles[0], 1),
        "pitch": round(angles[1], 1),
    }
    return {
        "image": name,
        "split": job.split,
        "source": job.source,
        "width": size,
        "height": size,
        "faces": [face],
        "boxes": [{"xyxy": (box - np.tile(corner, 2)).round(1).tolist(), "score": 1.0}],
    }
