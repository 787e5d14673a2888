"""`landmarks-train synthesize-poses`: images of faces in large poses, as a data set to train or to test on."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from landmarks.layout import WFLW98
from train.commands.arguments import add_data
from train.datasets.face import AnnotatedFace
from train.datasets.source import DataSource
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


def run(args: argparse.Namespace) -> None:
    """Writes the images, with a progress bar, and prints how many."""
    _check(args)
    source = DataSource.parse(args.data)
    if source.layout is not WFLW98:
        raise DataError(f"synthesize-poses needs the 98 points of WFLW; {source.name} has {source.layout.points}")
    faces = source.faces(args.split)
    plan = Plan(tuple(args.yaw), tuple(args.pitch), args.per_face, args.seed)
    job = Job(args.face_model, box_margins(faces), plan, args.out, args.split, source.name)
    chosen = evenly_spread(faces, args.limit)
    try:
        with tqdm(write(chosen, job, args.workers), total=len(chosen), unit="face") as bar:
            counts = list(bar)
        (args.out / RECORD_FILE).write_text(json.dumps(_record(args), indent=2) + "\n")
    except OSError as error:
        raise DataError(f"{args.out}: cannot be written ({error.strerror or error})") from error
    left_out = f"; left out {counts.count(0)} faces, which are too small or unlike a head" if 0 in counts else ""
    print(f"wrote {sum(counts)} images into {args.out}{left_out}")


def _check(args: argparse.Namespace) -> None:
    """Raises DataError naming the option that is out of range."""
    if not 0 <= args.yaw[0] <= args.yaw[1] <= 90:
        raise DataError(f"--yaw takes two angles from 0 to 90 in order, not {args.yaw[0]:g} {args.yaw[1]:g}")
    if not -45 <= args.pitch[0] <= args.pitch[1] <= 45:
        raise DataError(f"--pitch takes two angles from -45 to 45 in order, not {args.pitch[0]:g} {args.pitch[1]:g}")
    for name in ("per_face", "limit", "workers"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise DataError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    if args.out.exists() and (not args.out.is_dir() or (args.out / "annotations.jsonl").exists()):
        raise DataError(f"{args.out} exists: choose another --out")
    if not args.face_model.is_file():
        raise DataError(f"{args.face_model}: no such file; docs/training.md says where the face model comes from")


def evenly_spread(faces: list[AnnotatedFace], limit: int | None) -> list[AnnotatedFace]:
    """At most `limit` of the faces, evenly spread."""
    count = min(len(faces), limit or len(faces))
    return [faces[i * len(faces) // count] for i in range(count)]


def _record(args: argparse.Namespace) -> dict[str, Any]:
    """How the set was made."""
    return {
        "data": args.data,
        "split": args.split,
        "face_model": "sha256:" + hashlib.sha256(args.face_model.read_bytes()).hexdigest(),
        "yaw": args.yaw,
        "pitch": args.pitch,
        "per_face": args.per_face,
        "limit": args.limit,
        "seed": args.seed,
    }
