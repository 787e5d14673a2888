"""AFLW with the 19 points of its revised annotation: one MATLAB file, images beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.layouts import AFLW19
from train.datasets.mat import load_mat
from train.datasets.reading import checked, unknown_split
from train.errors import DataError

POINTS: Final = 19
TRAIN_FACES: Final = 20_000
SPLITS: Final = ("train", "full", "frontal")


def load(root: Path, split: Split, train_faces: int = TRAIN_FACES) -> list[AnnotatedFace]:
    """`AFLWinfo_release.mat`, images under `data/flickr/`; splits "train", "full" and "frontal".

    The order `ra` (counted from 1) splits the faces: the first 20,000 are for training, the rest for testing; of
    these, "frontal" are the ones with every point visible. A row of `data` is 19 x then 19 y, a row of `bbox` is
    left, right, top, bottom; they are taken as they are. Errors are divided by the root of the box's area.

    Raises DataError for an unknown split and for a missing or malformed file.
    """
    if split not in SPLITS:
        raise unknown_split(split, SPLITS)
    path = root / "AFLWinfo_release.mat"
    mat = load_mat(path, "bbox", "data", "mask_new", "nameList", "ra")
    order = np.asarray(mat["ra"]).ravel().astype(np.int64) - 1
    for key, width in (("bbox", 4), ("data", 2 * POINTS), ("mask_new", POINTS), ("nameList", 1)):
        if mat[key].shape != (len(order), width):
            found = " x ".join(map(str, mat[key].shape))
            raise DataError(f"{path}, variable {key!r}: expected {len(order)} x {width}, found {found}")
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise DataError(f"{path}, variable 'ra': expected every number from 1 to {len(order)} once")
    rows = order[:train_faces] if split == "train" else order[train_faces:]
    faces = [_face(root, path, mat, row) for row in rows]
    return [face for face in faces if "frontal" in face.subsets] if split == "frontal" else faces


def _face(root: Path, path: Path, mat: dict[str, Any], row: int) -> AnnotatedFace:
    left, right, top, bottom = np.asarray(mat["bbox"][row], np.float64)
    face = AnnotatedFace(
        root / "data" / "flickr" / str(mat["nameList"][row, 0][0]),
        np.asarray(mat["data"][row], np.float64).reshape(2, POINTS).T,
        np.array([left, top, right, bottom]),
        frozenset(["frontal"] if (mat["mask_new"][row] == 1).all() else []),
    )
    return checked(face, f"{path}, row {row + 1}")


FORMAT: Final = Format(load, AFLW19, train="train", test="full")
