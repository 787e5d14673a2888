"""The error in pictures that are turned, squeezed, or cut by a frame or an edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from train.datasets.face import AnnotatedFace
from train.datasets.image import read_image
from train.evaluation.faces_report.answers import Answers, Ask
from train.evaluation.faces_report.tables import Table, figures, number
from train.samples.variants import EDGES, cut, filling, squeezed, turned

TURNS: Final = (0, 15, 30, 45, 60, 90, 120, 150, 180)
"""Degrees that pictures are turned by."""
SHARES: Final = (0.5, 0.7, 0.9, 1.0, 1.1, 1.2)
"""Longer side of the face's box over the side of a square frame."""
CUTS: Final = (0.1, 0.2, 0.3, 0.4)
"""Shares of the box that an edge of the photograph cuts off."""
SQUEEZES: Final = (1.25, 1.5, 2.0)
"""Factors by which pictures are squeezed in one direction."""


def changed(ask: Ask, faces: Sequence[AnnotatedFace]) -> list[Table]:
    """Turned, squeezed, and cut by a frame or an edge."""

    def asked(change: Callable[[int, AnnotatedFace], AnnotatedFace]) -> Answers:
        return ask([change(i, face) for i, face in enumerate(faces)])

    def table(title: str, note: str, cases: Sequence[str], parts: Sequence[Answers], shown: str = "") -> Table:
        rows, curves = figures(parts)
        if shown:
            rows |= {shown: tuple(number(points_shown(each)) for each in parts)}
        return Table(title, note, tuple(cases), rows, curves)

    return [
        table(
            "Turned pictures",
            "The picture turned about the face, to either side by turns.",
            [f"{degrees:g}°" for degrees in TURNS],
            [asked(lambda i, face, d=degrees: turned(face, d * (-1) ** i)) for degrees in TURNS],  # type: ignore[misc]
        ),
        table(
            "Share of the frame",
            "The longer side of the face's box over that of a square frame: at 1 it touches forehead and chin, beyond "
            "it cuts them off. The box is cut with the picture.",
            [f"{share:g}" for share in SHARES],
            [asked(lambda _, face, s=share: filling(face, s)) for share in SHARES],  # type: ignore[misc]
            "points in the frame only, %",
        ),
        table(
            "Cut by an edge",
            "The photograph's edge cuts that share off the face's box: the left, the top, the right, the bottom one by "
            "turns.",
            [f"{share:.0%}" for share in CUTS],
            [asked(lambda i, face, s=share: cut(face, s, EDGES[i % 4])) for share in CUTS],  # type: ignore[misc]
            "points in the frame only, %",
        ),
        table(
            "Squeezed pictures",
            "Squeezed in one direction, the width and the height by turns, without `pixel_aspect`. Errors are those in "
            "the squeezed picture.",
            [f"{factor:g}" for factor in SQUEEZES],
            [
                asked(lambda i, face, f=factor: squeezed(face, *((1, 1 / f) if i % 2 else (1 / f, 1))))  # type: ignore[misc]
                for factor in SQUEEZES
            ],
        ),
    ]


def points_shown(answers: Answers) -> float:
    """The error in percent of the points that the picture shows."""
    sizes = np.array([read_image(face.image).shape[1::-1] for face in answers.faces])[:, None]
    shown = ((answers.truth >= 0) & (answers.truth <= sizes - 1)).all(axis=2)
    return float(answers.distances[shown].mean())
