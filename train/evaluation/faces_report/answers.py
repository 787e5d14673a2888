"""What a network answers for faces, and how far off that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.datasets.face import AnnotatedFace
from train.evaluation.metrics import Array
from train.evaluation.predict import SecondPass, predict
from train.evaluation.predictions import Predictions
from train.evaluation.trained import Trained

FEWEST: Final = 5
"""Faces or eyes without which nothing is said."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answered for faces, in pixels of their pictures."""

    faces: Sequence[AnnotatedFace]
    points: Array
    """[faces, 98, 2]"""
    truth: Array
    """[faces, 98, 2]"""
    scores: Array
    """[faces]"""
    visibility: Array
    """[faces, 98], or [faces, 0]"""

    @property
    def distances(self) -> Array:
        """[faces, 98] in percent of the root of the area of the points' box."""
        lengths = np.sqrt(np.ptp(self.truth, axis=1).prod(axis=1))
        distances: Array = 100 * np.linalg.norm(self.points - self.truth, axis=2) / lengths[:, None]
        return distances

    @property
    def ocular(self) -> Array:
        """[faces] the distance of the true outer eye corners."""
        ocular: Array = np.linalg.norm(self.truth[:, 60] - self.truth[:, 72], axis=1)
        return ocular


Ask = Callable[[Sequence[AnnotatedFace]], Answers]


def answers_of(model: Trained, faces: Sequence[AnnotatedFace]) -> Answers:
    """What the network answers, with the second pass where it states one."""
    k = model.codec.topk
    second = SecondPass(model.points_crop, "auto") if model.points_crop else None
    found: Predictions = predict(
        model.network,
        faces,
        model.codec,
        model.crop_scale,
        [k],
        progress=True,
        second=second,
        correction=model.correction,
        plausibility=model.plausibility,
        label="report-faces",
    )
    truth = np.stack([face.points for face in faces])
    return Answers(faces, found.image_points(k), truth, found.scores(k), found.decoded[k].visibility.astype(np.float64))


def part(answers: Answers, mask: Mask) -> Answers:
    """The answers for some of the faces."""
    chosen = np.flatnonzero(mask)
    values = (each[chosen] for each in (answers.points, answers.truth, answers.scores, answers.visibility))
    return Answers([answers.faces[i] for i in chosen], *values)


def enough(answers: Answers) -> bool:
    """Whether there are enough faces to say something."""
    return len(answers.faces) >= FEWEST
