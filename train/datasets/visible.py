"""Which points of a face are seen, as far as that is known."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from train.datasets.face import AnnotatedFace

MAX_ASYMMETRY: Final = 0.08
"""Largest `asymmetry` of a face that counts as seen in full where its data set does not say which points are: a yaw of
about 15 degrees."""


def labels_of(face: AnnotatedFace, layout: PointLayout) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each point [P] is seen, as far as the head itself is concerned, and whether that is known."""
    annotated = ~np.isnan(face.points).any(axis=1)
    if face.visible is not None:
        return face.visible, annotated
    frontal = bool(annotated.all()) and asymmetry(face.points, layout) <= MAX_ASYMMETRY
    return np.ones(len(annotated), np.bool_), annotated & frontal


def asymmetry(points: NDArray[np.float64], layout: PointLayout) -> float:
    """How far a face with points [P, 2] is from its mirror image, in sizes of the face: 0 for a symmetric one.

    It is half the root mean square of the distances between corresponding points, after the mirror image has been
    moved, rotated and scaled to fit best.
    """
    centered = points - points.mean(axis=0)
    face = centered @ [1, 1j]
    size = np.sqrt((np.abs(face) ** 2).mean())
    if not size:
        return np.inf
    mirror = -face[list(layout.flip)].conj()
    turn = (mirror.conj() * face).mean()
    return float(np.sqrt((np.abs(face - mirror * turn / max(abs(turn), 1e-12)) ** 2).mean()) / (2 * size))
