"""Tables of figures over cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from train.evaluation.faces_report.answers import Answers, Mask, enough, part
from train.evaluation.metrics import Array

ERROR: Final = "error"
"""The key of a table's curve before it is named after its data set."""


@dataclass(frozen=True)
class Table:
    """Figures of each data set, over the same cases."""

    title: str
    note: str
    cases: tuple[str, ...]
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By what a row shows; a figure for each case, "" where there are too few faces."""
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """By data set, the errors that are drawn; NaN where there is nothing to say."""


def by_range(title: str, note: str, values: Array, ends: Sequence[float], plain: Answers) -> Table:
    """The faces sorted into ranges of a value [faces], in degrees."""
    masks = ranges(values, ends)
    cases = tuple(f"{low:g} to {high:g}°" for low, high in pairwise(ends))
    return Table(title, note, cases, *figures([part(plain, mask) for mask in masks]))


def ranges(values: Array, ends: Sequence[float]) -> list[Mask]:
    """Masks [n] of the values in each range; its lower end belongs to it."""
    return [(values >= low) & (values < high) for low, high in pairwise(ends)]


def figures(parts: Sequence[Answers]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[float, ...]]]:
    """Rows and a curve of the error and the score over cases."""
    errors = [float(each.distances.mean()) if enough(each) else np.nan for each in parts]
    scores = [float(each.scores.mean()) if enough(each) else np.nan for each in parts]
    rows = {
        "faces": tuple(str(len(each.faces)) for each in parts),
        "error, %": tuple(map(number, errors)),
        "mean score": tuple(map(number, scores)),
    }
    return rows, {ERROR: tuple(errors)}


def number(value: float) -> str:
    """Two decimals; "" for NaN."""
    return "" if np.isnan(value) else f"{value:.2f}"
