"""The error of hidden points."""

from __future__ import annotations

import numpy as np

from train.evaluation.faces_report.answers import FEWEST, Answers, Mask
from train.evaluation.faces_report.tables import Table, number


def hidden(plain: Answers) -> list[Table]:
    """Hidden points against those that are seen: as the network says, and as the data set does where it does."""
    seen: dict[str, tuple[Mask, Mask]] = {}
    if plain.visibility.shape[1]:
        seen["the network says"] = plain.visibility >= 0.5, np.ones(plain.truth.shape[:2], np.bool_)
    labels = [face.visible for face in plain.faces]
    if any(each is not None for each in labels):
        known = np.array([each is not None for each in labels])
        stated = np.stack([np.ones(98, np.bool_) if each is None else each for each in labels])
        seen["the data set says"] = stated, np.broadcast_to(known[:, None], stated.shape)
    weights = np.stack([face.point_weights for face in plain.faces])
    placed = (weights == 1).any(axis=1) & (weights < 1).any(axis=1)
    if placed.sum() >= FEWEST:
        known = np.broadcast_to(placed[:, None], weights.shape) & (weights != 0.5)
        seen["placed by hand, or guessed"] = weights == 1, known
    rows = {}
    for who, (is_seen, known) in seen.items():
        parts = [plain.distances[known & each] for each in (is_seen, ~is_seen)]
        rows[f"{who}, points"] = tuple(str(len(each)) for each in parts)
        rows[f"{who}, %"] = tuple(number(float(each.mean())) if len(each) >= FEWEST else "" for each in parts)
    note = "Errors of points that are seen, and of those that the head itself or something before it hides."
    return [Table("Hidden points", note, ("seen", "hidden"), rows)] if rows else []
