"""The part of a data set that is held out of training, to calibrate on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from train.datasets.face import AnnotatedFace
from train.datasets.image import ImageSource


def split_by_name(faces: Sequence[AnnotatedFace], every: int) -> tuple[list[AnnotatedFace], list[AnnotatedFace]]:
    """The faces to train on, and the faces of about every n-th image, which are held out; 0 holds none out.

    The name of an image alone decides, so that the part is the same whatever else is in the list.
    """
    if not every:
        return list(faces), []
    stems = {_stem(face.image) for face in faces}
    out = {stem for stem in stems if zlib.crc32(stem.encode()) % every == 0}
    return (
        [face for face in faces if _stem(face.image) not in out],
        [face for face in faces if _stem(face.image) in out],
    )


def split_sets(
    sets: Sequence[Sequence[AnnotatedFace]], every: int
) -> list[tuple[list[AnnotatedFace], list[AnnotatedFace]]]:
    """Of each of several data sets the faces to train on and those that are held out, as `split_by_name` does it.

    Images that were derived from a held-out image of the first set are held out as well.
    """
    split = [split_by_name(faces, every) for faces in sets]
    originals = split[0][1]
    for i, (kept, out) in enumerate(split[1:], 1):
        independent = without(kept, originals)
        derived = {id(face) for face in kept} - {id(face) for face in independent}
        split[i] = independent, [*out, *(face for face in kept if id(face) in derived)]
    return split


def without(faces: Sequence[AnnotatedFace], out: Sequence[AnnotatedFace]) -> list[AnnotatedFace]:
    """The faces of images that were not derived from the images of `out`.

    A derived image is named after its original: the original's stem, `_` and more, as `train.pose_synthesis` does it.
    """
    starts = tuple({f"{_stem(face.image)}_" for face in out})
    return [face for face in faces if not f"{_stem(face.image)}_".startswith(starts)]


def _stem(source: ImageSource) -> str:
    return Path(source.name).stem
