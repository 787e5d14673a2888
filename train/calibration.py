"""What is fitted to a trained network on faces it has not seen: the part of `train` that is held out for it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from train.datasets.face import Face, Photo


def held_out(faces: Sequence[Face], every: int) -> tuple[list[Face], list[Face]]:
    """The faces to train on, and those of about every n-th photograph, kept out of training; 0 keeps none out.

    A photograph's name alone decides, so that the part is the same whatever else is in the list.
    """
    if not every:
        return list(faces), []
    stems = {_stem(face.image) for face in faces}
    out = {stem for stem in stems if zlib.crc32(stem.encode()) % every == 0}
    return (
        [face for face in faces if _stem(face.image) not in out],
        [face for face in faces if _stem(face.image) in out],
    )


def without(faces: Sequence[Face], out: Sequence[Face]) -> list[Face]:
    """The faces of pictures that were not made from the photographs of `out`.

    A picture made from another has that one's stem, `_` and more for its name, as `train.turn` gives it.
    """
    starts = tuple({f"{_stem(face.image)}_" for face in out})
    return [face for face in faces if not f"{_stem(face.image)}_".startswith(starts)]


def _stem(photo: Photo) -> str:
    return Path(photo.name).stem
