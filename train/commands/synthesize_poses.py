"""`landmarks-train synthesize-poses`: images of faces in large poses, as a data set to train or to test on."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tqdm import tqdm

from landmarks.layout import WFLW98
from train.commands.arguments import add_data
from train.datasets.source import DataSource
from train.datasets.spread import evenly_spread
from train.errors import DataError
from train.pose_synthesis.boxes import box_margins
from train.pose_synthesis.dataset import Job, Plan, write

DETAILS: Final = "A 3-D head is fitted to each face's points, rotated, and drawn with the image as its texture."
EXAMPLE: Final = "--data faces300w:data/faces300w --split train --face-model ict_face.npz --out data/poses"

RECORD_FILE: Final = "pose_synthesis.json"
"""Name of the file that says how the set was made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data, the face model, the range of poses and the folder to write."""
    add_data(parser, "a set of 98 points")
    parser.add_argument("--split", required=True, help="a split by the set's own name; the result has it too")
    parser.add_argument("--face-model", required=True, type=Path, metavar="FILE", help="ICT's face model (.npz)")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write, new or empty")
    parser.add_argument(
        "--yaw", type=float, nargs=2, default=[30, 90], metavar=("MIN", "MAX"), help="degrees to either side [30 90]"
    )
    parser.add_argument(
        "--pitch", type=float, nargs=2, default=[-30, 30], metavar=("MIN", "MAX"), help="degrees, up positive [-30 30]"
    )
    parser.add_argument("--per-face", type=int, default=2, metavar="N", help="images of each face [%(default)s]")
    parser.add_argument("--limit", type=int, metavar="N", help="faces spread over the set, instead of all")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same images [%(default)s]")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes [%(default)s]")


def run(
    *,
    data: str,
    split: str,
    face_model: Path,
    out: Path,
    yaw: list[float],
    pitch: list[float],
    per_face: int,
    limit: int | None,
    seed: int,
    workers: int,
) -> None:
    """Writes the images, with a progress bar, and prints how many."""
    check_range("--yaw", yaw, 0, 90)
    check_range("--pitch", pitch, -45, 45)
    check_at_least_1({"--per-face": per_face, "--limit": limit, "--workers": workers})
    if out.exists() and (not out.is_dir() or (out / "annotations.jsonl").exists()):
        raise DataError(f"{out} exists: choose another --out")
    if not face_model.is_file():
        raise DataError(f"{face_model}: no such file; docs/training.md says where the face model comes from")
    source = DataSource.parse(data)
    if source.layout is not WFLW98:
        raise DataError(f"synthesize-poses needs the 98 points of WFLW; {source.name} has {source.layout.points}")
    faces = source.faces(split)
    plan = Plan((yaw[0], yaw[1]), (pitch[0], pitch[1]), per_face, seed)
    job = Job(face_model, box_margins(faces), plan, out, split, source.name)
    chosen = evenly_spread(faces, limit)
    record = {
        "data": data,
        "split": split,
        "face_model": "sha256:" + hashlib.sha256(face_model.read_bytes()).hexdigest(),
        "yaw": yaw,
        "pitch": pitch,
        "per_face": per_face,
        "limit": limit,
        "seed": seed,
    }
    try:
        with tqdm(write(chosen, job, workers), total=len(chosen), unit="face") as bar:
            counts = list(bar)
        (out / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    left_out = f"; left out {counts.count(0)} faces, which are too small or unlike a head" if 0 in counts else ""
    print(f"wrote {sum(counts)} images into {out}{left_out}")


def check_range(option: str, angles: list[float], low: int, high: int) -> None:
    """Raises DataError unless the two angles are in order and within the range, in degrees."""
    if not low <= angles[0] <= angles[1] <= high:
        given = f"{angles[0]:g} {angles[1]:g}"
        raise DataError(f"{option} takes two angles from {low} to {high} in order, not {given}")


def check_at_least_1(values: Mapping[str, int | None]) -> None:
    """Raises DataError naming the first option whose value is below 1; None is allowed."""
    for option, value in values.items():
        if value is not None and value < 1:
            raise DataError(f"{option} must be at least 1, not {value}")
