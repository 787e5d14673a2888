"""Eyes and mouth: how far they are open, and the error by that."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from landmarks.layout import WFLW98
from train.datasets.face import AnnotatedFace
from train.datasets.visible import MAX_ASYMMETRY, asymmetry
from train.evaluation.faces_report.answers import FEWEST, Answers, Ask, Mask, enough, part
from train.evaluation.faces_report.tables import Table, figures, number, ranges
from train.evaluation.metrics import Array
from train.samples.variants import blinking

OPENINGS: Final = (0.0, 0.025, 0.05, 0.075, 1.0)
"""Ends of the ranges of an eye's opening over the distance of the outer eye corners."""
MOUTHS: Final = (0.0, 0.05, 0.15, 0.3, 5.0)
"""Ends of the ranges of the mouth's opening over the same distance."""
NEARLY_CLOSED: Final = 0.05
"""Opening of an eye below which it counts as nearly closed."""

EYES: Final = {"right_eye": ((61, 67), (62, 66), (63, 65)), "left_eye": ((69, 75), (70, 74), (71, 73))}
"""By group: the pairs of points above each other on the lids of WFLW's layout."""
MOUTH: Final = (90, 94)
"""The middle of the inner edges of the lips."""


def openings(points: Array) -> Array:
    """The openings [faces, 2] of both eyes of points [faces, 98, 2], over the distance of the outer eye corners."""
    ocular = np.linalg.norm(points[:, 60] - points[:, 72], axis=1)
    of_eyes = [
        np.mean([np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in pairs], axis=0)
        for pairs in EYES.values()
    ]
    result: Array = np.stack(of_eyes, axis=1) / ocular[:, None]
    return result


def is_frontal(face: AnnotatedFace) -> bool:
    """Whether a face looks about straight at the camera, so that distances across it are not foreshortened."""
    return asymmetry(face.points, WFLW98) <= 2 * MAX_ASYMMETRY


def eyes(plain: Answers) -> list[Table]:
    """How far eyes are open: the network against the labels."""
    frontal = np.array([is_frontal(face) for face in plain.faces])
    if frontal.sum() < FEWEST:
        return []
    said, true = openings(plain.points[frontal]).ravel(), openings(plain.truth[frontal]).ravel()
    masks = ranges(true, OPENINGS)
    cases = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(OPENINGS)]
    cases[-1] = f"over {100 * OPENINGS[-2]:g} %"

    def mean(values: Array, mask: Mask) -> str:
        return number(100 * float(values[mask].mean())) if mask.sum() >= FEWEST else ""

    rows = {
        "eyes": tuple(str(int(mask.sum())) for mask in masks),
        "labelled opening, %": tuple(mean(true, mask) for mask in masks),
        "the network's, %": tuple(mean(said, mask) for mask in masks),
        "mean difference, %": tuple(mean(np.abs(said - true), mask) for mask in masks),
    }
    note = (
        "Distance of the lids, mean of three pairs of points, over that of the outer eye corners; by the labelled one, "
        "on faces that look about at the camera."
    )
    tables = [Table("Open and closed eyes", note, tuple(cases), rows)]
    closed = true < NEARLY_CLOSED
    if closed.sum() >= FEWEST:
        slope = float(np.polyfit(true[closed], said[closed], 1)[0])
        values = (str(int(closed.sum())), number(float(np.corrcoef(true[closed], said[closed])[0, 1])), number(slope))
        note = f"Openings below {100 * NEARLY_CLOSED:g} %: the network's over the labelled ones."
        tables.append(Table("Nearly closed eyes", note, ("eyes", "correlation", "slope"), {"opening": values}))
    return tables


def blinks(ask: Ask, faces: Sequence[AnnotatedFace]) -> Table:
    """How far points move when only the eyelids do."""
    before, after = ask(faces), ask([blinking(face) for face in faces])
    moved = 100 * np.linalg.norm(after.points - before.points, axis=2) / before.ocular[:, None]
    groups = [name for name in WFLW98.groups if name not in (*EYES, "pupils")]
    rows = {
        f"mean of {len(faces)} faces": tuple(number(float(moved[:, WFLW98.groups[name]].mean())) for name in groups),
        "95 % of the faces below": tuple(
            number(float(np.quantile(moved[:, WFLW98.groups[name]].mean(axis=1), 0.95))) for name in groups
        ),
    }
    opened, closed = (100 * float(openings(each).mean()) for each in (before.points, after.points))
    true = 100 * float(openings(after.truth).mean())
    note = (
        "Both eyes closed in the picture by stretching the lids, on faces that look about at the camera: how far the "
        "other points move, in % of the distance of the outer eye corners. They should not."
    )
    rows |= {
        "opening of the eyes, %": (f"{opened:.1f} before, {closed:.1f} closed (true: {true:.1f})",)
        + ("",) * (len(groups) - 1)
    }
    return Table("A blink", note, tuple(n.replace("_", " ") for n in groups), rows)


def mouths(plain: Answers) -> Table:
    """By how far the mouth is open."""
    ocular = np.linalg.norm(plain.truth[:, 60] - plain.truth[:, 72], axis=1)
    opening = np.linalg.norm(plain.truth[:, MOUTH[0]] - plain.truth[:, MOUTH[1]], axis=1) / ocular
    frontal = np.array([is_frontal(face) for face in plain.faces])
    parts = [part(plain, mask & frontal) for mask in ranges(opening, MOUTHS)]
    rows, curves = figures(parts)
    lips = [*WFLW98.groups["outer_lips"], *WFLW98.groups["inner_lips"]]
    rows |= {"lips, %": tuple(number(float(each.distances[:, lips].mean())) if enough(each) else "" for each in parts)}
    cases = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(MOUTHS)]
    cases[-1] = f"over {100 * MOUTHS[-2]:g} %"
    note = "Distance of the inner lips over that of the outer eye corners, on faces that look about at the camera."
    return Table("Open mouths", note, tuple(cases), rows, curves)
