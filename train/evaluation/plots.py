"""Plots of a run: its learning curves, the distribution of its errors, its best and its worst faces."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from landmarks.crop import Crop, transform_points, warp
from landmarks.layout import Norm
from landmarks.size import Size
from train.datasets.image import RgbImage, read_image
from train.evaluation.metrics import LIMIT, Array
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName

TRUE_COLOR: Final = "#00f076"
"""Color of annotated points."""
PREDICTED_COLOR: Final = "#ff2d87"
"""Color of predicted points, and of the lines from annotated points to them."""
COLUMNS: Final = 4
"""Faces in a row of a sheet, or more where a sheet would be higher than wide."""
SHEET: Final = 16
"""Faces on a sheet, unless another number is asked for."""
TILE: Final = 360
"""Side in pixels of a face on a sheet."""
NAME_LENGTH: Final = 32
"""The number of characters, from the end, that are shown of an image's name."""
MARGIN: Final = 1.15
"""Side of the part of an image that is shown, divided by the longer side of the box of all points."""
NORM_LABELS: Final[dict[Norm, str]] = {
    "inter_ocular": "the inter-ocular distance",
    "inter_pupil": "the inter-pupil distance",
    "box": "the root of the box's area",
    "size": "the length that the data set states",
    "tight_box": "the root of the area of the box of the points",
}


# ---------------------------------------------------------------- learning curves


def draw_curves(metrics: Path, out: Path) -> None:
    """Draws loss and NME over the epochs of metrics.jsonl, with a line where the crop size changes."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in metrics.read_text().splitlines()]
    figure = new_figure(7.5, 6)
    loss, nme = figure.subplots(2, sharex=True)
    curve(loss, rows, "loss")
    curve(nme, rows, "nme")
    loss.set_ylabel("loss")
    last = rows[-1]["epoch"] if rows else 0
    nme.set(ylabel="NME on the test split, %", xlabel="epochs trained", xlim=(0.5, last + 1.5))
    for axes in (loss, nme):
        mark_stages(axes, rows)
    figure.savefig(out)


def curve(axes: Axes, rows: Iterable[dict[str, Any]], name: str) -> None:
    """Draws one metric, of the rows that have it, over the number of epochs trained by then."""
    points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
    axes.plot(*np.array(points, np.float64).reshape(-1, 2).T, marker="o", markersize=3)
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3)


def mark_stages(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draws a dashed line between epochs of different crop sizes, and writes each size above its first epoch."""
    starts = [row for before, row in pairwise(rows) if before["input_size"] != row["input_size"]]
    for row in starts:
        axes.axvline(row["epoch"] + 0.5, color="grey", linestyle="--", linewidth=1)
    for row in [*rows[:1], *starts]:
        position = (row["epoch"] + 0.5, 1.01)
        axes.annotate(f"{row['input_size']} px", position, xycoords=("data", "axes fraction"), color="grey")


# ---------------------------------------------------------------- evaluation


def draw_evaluation(
    predictions: Predictions, k: DecoderName, folder: Path, sheet: int = SHEET, norm: Norm | None = None
) -> None:
    """Writes ced.png, best.png and worst.png, for the decoder that averages k cells.

    `sheet`: faces on each of the last two. `norm`: by which the faces are ordered, the layout's if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    errors = np.nanmean(predictions.errors(k, norm), axis=1)
    order = [int(face) for face in np.argsort(errors, kind="stable")]
    shown = min(sheet, len(order))
    draw_distribution(predictions, k, folder / "ced.png")
    draw_faces(predictions, k, order[:shown], f"The {shown} best of {len(order)}", folder / "best.png", norm)
    draw_faces(predictions, k, order[::-1][:shown], f"The {shown} worst of {len(order)}", folder / "worst.png", norm)


def draw_distribution(predictions: Predictions, k: DecoderName, out: Path) -> None:
    """Draws the cumulative error distribution: the share of the faces over the largest error."""
    figures = predictions.report(k)
    errors = 100 * np.sort(np.nanmean(predictions.errors(k), axis=1))
    share = 100 * np.arange(1, len(errors) + 1) / len(errors)
    figure = new_figure(6.5, 4.5)
    axes = figure.subplots()
    label = f"k = {k}: NME {figures.nme:.2f} %, AUC@10 {figures.auc10:.3f}"
    axes.step(np.append(0, errors), np.append(0, share), where="post", label=label)
    axes.axvline(100 * LIMIT, color="grey", linestyle="--", label=f"FR@10 {figures.fr10:.2f} %")
    axes.set(xlim=(0, 120 * LIMIT), ylim=(0, 101), ylabel=f"share of the {len(errors)} faces, %")
    axes.set_xlabel(f"NME, % of {NORM_LABELS[predictions.layout.norm]}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", framealpha=1)
    figure.savefig(out)


def draw_reliability(predictions: Predictions, k: int, freedom: Mapping[str, float], out: Path) -> None:
    """Draws the share of true points that the ellipses hold over the share they should hold; a line for each group."""
    shares, expected = predictions.shares(k, freedom), np.linspace(0, 1, 101)
    figure = new_figure(7.5, 6)
    axes = figure.subplots()
    axes.fill_between(100 * expected, 100 * expected - 3, 100 * expected + 3, color="grey", alpha=0.2, label="within 3")
    for name, group in {**predictions.layout.groups, "all": tuple(range(predictions.layout.points))}.items():
        values = shares[:, group][~np.isnan(shares[:, group])]
        held = 100 * np.searchsorted(np.sort(values), expected, side="right") / max(1, len(values))
        style = {"color": "black", "linewidth": 2.5} if name == "all" else {"linewidth": 1}
        axes.plot(100 * expected, held, label=name.replace("_", " "), **style)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="share that an ellipse should hold, %", ylabel="true points held, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(out)


def draw_faces(
    predictions: Predictions, k: DecoderName, chosen: Sequence[int], title: str, out: Path, norm: Norm | None = None
) -> None:
    """Draws a sheet of faces with lines from annotated to predicted points, and the error below each face."""
    norm = norm or predictions.layout.norm
    errors = 100 * np.nanmean(predictions.errors(k, norm), axis=1)
    columns = max(COLUMNS, math.ceil(math.sqrt(len(chosen))))
    rows = -(-len(chosen) // columns)
    points = predictions.image_points(k)
    figure = new_figure(columns * TILE / 100, rows * (TILE / 100 + 0.25) + 0.6)
    figure.suptitle(f"{title} faces by NME, % of {NORM_LABELS[norm]}, k = {k}")
    for position, i in enumerate(chosen, start=1):
        axes = figure.add_subplot(rows, columns, position)
        face = predictions.faces[i]
        draw_face(axes, read_image(face.image), face.points, points[i])
        axes.set_xlabel(f"{errors[i]:.2f} %  {face.image.name[-NAME_LENGTH:]}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=3, frameon=False)
    figure.savefig(out)


def draw_face(axes: Axes, image: RgbImage, true: Array, predicted: Array) -> None:
    """Draws the part of an image that holds all points, and the points, both [P, 2] in image pixels."""
    both = np.concatenate([true, predicted])
    box = np.concatenate([np.nanmin(both, axis=0), np.nanmax(both, axis=0)])
    matrix = Crop.around(box, MARGIN, Size.square(TILE)).image_to_crop()
    true, predicted = transform_points(matrix, true), transform_points(matrix, predicted)
    axes.imshow(warp(image, matrix, Size.square(TILE)))
    axes.add_collection(LineCollection(list(np.stack([true, predicted], axis=1)), colors=PREDICTED_COLOR, linewidths=1))
    for points, color, label in ((predicted, PREDICTED_COLOR, "predicted"), (true, TRUE_COLOR, "true")):
        axes.scatter(points[:, 0], points[:, 1], s=9, color=color, linewidths=0, label=label)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def new_figure(width: float, height: float) -> Figure:
    """A figure of a width and a height in inches, at 100 pixels per inch."""
    # made without pyplot, which would choose a window system and keep the figure open
    return Figure(figsize=(width, height), dpi=100, layout="constrained")
