"""A data set of faces with synthesized poses: which poses, the images one after another, and their annotations."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
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
from train.pose_synthesis.head import fit_head, scaled
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.synthesis import ObservedHead, observe, synthesize, visible

Array = NDArray[np.floating[Any]]
Annotation = dict[str, Any]
"""A line of annotations.jsonl, in the format of `train.datasets.faces300w`."""

MAX_SCALE: Final = 10.0
"""Pixels per centimeter to which larger faces are reduced: 90 pixels between the outer eye corners."""
IMAGE_EXTENT: Final = 38.4
"""Centimeters that an image shows: twice a face's height."""
MIN_SIDE_YAW: Final = 8.0
"""Degrees of yaw in the original image from which on a face is rotated to that side alone, of which it shows more."""
MAX_PITCH_CHANGE: Final = 30.0
"""Largest change of the original pitch, in degrees."""
MAX_FIT_ERROR: Final = 0.5
"""Centimeters, 6 % of the distance between the outer eye corners; a face that the model fits with a larger mean error
is left out."""
MIN_FACE_SIZE: Final = 20.0
"""Pixels of width and height below which a face is left out."""
JPEG_QUALITY: Final = 90


@dataclass(frozen=True)
class Plan:
    """Which images to synthesize of every face. Angles in degrees, as of `Pose.angles`."""

    yaw: tuple[float, float] = (30.0, 90.0)
    """Smallest and largest, to either side."""
    pitch: tuple[float, float] = (-30.0, 30.0)
    """Smallest and largest."""
    per_face: int = 2
    """Images of each face; their yaws are spread over the range."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Job:
    """What the images of all faces have in common."""

    model: Path
    """The file of the face model."""
    margins: Array
    """[N, 4] of detector's boxes about the points, as of `box_margins`"""
    plan: Plan
    out: Path
    split: str
    source: str


def write(faces: Sequence[AnnotatedFace], job: Job, workers: int) -> Iterator[int]:
    """Writes `job.out`/images and `job.out`/annotations.jsonl; yields, face by face, the number of images of it.

    The annotations get their final name last: a folder left by an interrupted call is no data set. What is written
    depends on the plan alone, not on the number of workers. Raises DataError when an image cannot be read or written.
    """
    (job.out / "images").mkdir(parents=True, exist_ok=True)
    unfinished = job.out / "annotations.jsonl.part"
    with unfinished.open("w", encoding="utf-8") as file:
        for annotations in _in_order(faces, job, workers):
            file.writelines(json.dumps(each, separators=(",", ":")) + "\n" for each in annotations)
            yield len(annotations)
    unfinished.replace(job.out / "annotations.jsonl")


def _in_order(faces: Sequence[AnnotatedFace], job: Job, workers: int) -> Iterator[list[Annotation]]:
    if workers <= 1:
        yield from map(write_face, repeat(job), range(len(faces)), faces)
        return
    # spawned rather than forked, because a fork would inherit locks held by OpenCV's threads. The pool is made before
    # Ctrl-C is postponed: multiprocessing starts a process then that tracks semaphores, and unblocks the signal
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(0,))
    try:
        with interrupt_postponed():
            results = pool.map(write_face, repeat(job), range(len(faces)), faces)
        yield from results
    except BrokenExecutor as error:
        raise DataError("a process of --workers died, perhaps for want of memory: try fewer") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interrupt_postponed() -> Iterator[None]:
    """Ctrl-C within the block takes effect at its end. Processes that are started in the block never notice one: they
    finish their face, and this process alone reports the interruption.

    The signal is blocked rather than ignored, which processes inherit as well: one that is ignored would be lost. The
    handler is for other threads of this process, which do not block it.
    """
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    handler = signal.signal(signal.SIGINT, note)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came and callable(handler):
        handler(signal.SIGINT, None)


def write_face(job: Job, number: int, face: AnnotatedFace) -> list[Annotation]:
    """Writes the images of the data set's face `number`; returns their annotations.

    There are none for a face that is too small or that the model does not fit. Raises DataError as `write` does.
    """
    if np.ptp(face.points, axis=0).min() < MIN_FACE_SIZE:
        return []
    head = fit_head(_model(job.model), face.points)
    if head.fit_error > MAX_FIT_ERROR:
        return []
    rng = np.random.default_rng([job.plan.seed, number])
    image = read_image(face.image)
    factor = min(1.0, MAX_SCALE / head.pose.scale)
    if factor < 1:
        # given as a factor, because a size in whole pixels would round it
        image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        head = scaled(head, factor)
    observed = observe(image, head)
    stem = Path(face.image.name).stem
    poses = draw_poses(job.plan, head.pose.angles, rng)
    return [_write_image(job, observed, pose, f"{stem}_{number}_{i}.jpg", rng) for i, pose in enumerate(poses)]


@cache
def _model(path: Path) -> FaceModel:
    return FaceModel.load(path)


def draw_poses(plan: Plan, original: tuple[float, float, float], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Yaw and pitch of each image of a face, given the angles (yaw, pitch, roll) in the original image."""
    (low, high), count = plan.yaw, plan.per_face
    yaws = low + (high - low) * (np.arange(count) + rng.random(count)) / count
    sides = rng.choice([-1.0, 1.0], count)
    if abs(original[0]) > MIN_SIDE_YAW:
        sides = np.full(count, np.sign(original[0]))
    pitches = np.clip(rng.uniform(*plan.pitch, count), original[1] - MAX_PITCH_CHANGE, original[1] + MAX_PITCH_CHANGE)
    return [(float(yaw * side), float(pitch)) for yaw, side, pitch in zip(yaws, sides, pitches, strict=True)]


def _write_image(
    job: Job, observed: ObservedHead, angles: tuple[float, float], name: str, rng: np.random.Generator
) -> Annotation:
    head = observed.head
    pose = head.pose_at(*angles)
    size = round(IMAGE_EXTENT * pose.scale)
    box = detector_box(head.posed_points(pose).points, job.margins, rng)
    corner = np.round((box[:2] + box[2:] - size) / 2)
    pose = replace(pose, shift=pose.shift - corner)
    image, depth = synthesize(observed, pose, size)
    posed = head.posed_points(pose)
    path = job.out / "images" / name
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise DataError(f"{path}: cannot be written")
    face = {
        "points98": posed.points.round(2).tolist(),
        "visible98": visible(posed, depth).astype(int).tolist(),
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
