"""Fewer faces of a data set, evenly spread over it."""

from __future__ import annotations

from collections.abc import Sequence

from train.datasets.face import AnnotatedFace


def evenly_spread(faces: Sequence[AnnotatedFace], limit: int | None) -> list[AnnotatedFace]:
    """At most `limit` of the faces, evenly spread; None: all."""
    count = len(faces) if limit is None else min(len(faces), limit)
    return [faces[i * len(faces) // count] for i in range(count)]
