"""What a point conversion moves, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from landmarks.layout import WFLW98
from train.evaluation.metrics import Array

MOST_MOVED: Final = 12
"""Points that the table lists one by one."""


def table(before: Array, after: Array, wanted: Array | None = None) -> str:
    """How far the conversion moves the points of faces [N, 98, 2], in percent of the root of the area of a face's box.

    By group, and of the points moved the most. With the `wanted` points also the mean distance to them, before and
    after.
    """
    size = np.sqrt(np.ptp(after, axis=1).prod(axis=1))[:, None]
    columns = {"moved": after - before}
    if wanted is not None:
        columns |= {"error before": before - wanted, "error after": after - wanted}
    by_point = {name: 100 * (np.linalg.norm(each, axis=2) / size).mean(axis=0) for name, each in columns.items()}
    order = np.argsort(-by_point["moved"])[:MOST_MOVED]
    groups = {"all points": tuple(range(WFLW98.points)), **WFLW98.groups}
    rows = {**groups, **{f"point {point}": (int(point),) for point in order}}
    lines = ["| points | " + " | ".join(by_point) + " |", "| --- |" + " ---: |" * len(by_point)]
    for name, group in rows.items():
        cells = (f"{values[list(group)].mean():.2f}" for values in by_point.values())
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n(percent of the root of the area of the face's box)"


def draw_conversion(before: Array, after: Array, wanted: Array, out: Path) -> None:
    """Draws the mean shape of faces [N, 98, 2] before and after the conversion, and as it should be."""
    figure = Figure(figsize=(8, 8), dpi=110, layout="constrained")
    axes = figure.subplots()
    center = wanted.mean(axis=1, keepdims=True)
    size = np.sqrt((np.ptp(wanted, axis=1)).prod(axis=1))[:, None, None]
    means = [((points - center) / size).mean(axis=0) for points in (before, after, wanted)]
    axes.plot(*np.stack(means[:2]).transpose(2, 0, 1), color="grey", linewidth=0.8)
    for mean, color, label in zip(means, ("#d62728", "#1f77b4", "black"), ("before", "after", "wanted"), strict=True):
        marker, area = ("+", 30) if label == "wanted" else ("o", 14)
        axes.scatter(mean[:, 0], mean[:, 1], s=area, marker=marker, color=color, label=label, linewidths=0.8)
    axes.set(xticks=[], yticks=[], aspect="equal", title="mean shape of the faces")
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    figure.savefig(out)
