"""The error and the score over the strength of each corruption: rotation, size, blur, JPEG, occlusion, box shift.

Every random number comes from (seed, corruption, index of the face), so that a curve does not depend on what else is
measured.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from landmarks.crop import Crop, Matrix
from train.datasets.face import AnnotatedFace
from train.datasets.image import RgbImage
from train.datasets.source import DataSource
from train.evaluation.metrics import LIMIT, Array, auroc
from train.evaluation.plots import new_figure
from train.evaluation.predict import check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.trained import Trained
from train.samples.corruptions import CORRUPTIONS, Corruption, Cropper, FaceView, crop_face
from train.samples.image_cache import ImageCache

# ---------------------------------------------------------------- measurement


class Row(NamedTuple):
    """A point of a curve: a corruption at one strength."""

    corruption: str
    strength: float
    faces: int
    nme: float
    """Normalised mean error in percent."""
    fr10: float
    """Percentage of the faces whose NME exceeds 10 %."""
    score: float
    """Mean of the faces' scores."""


@dataclass(frozen=True)
class Robustness:
    """The curves, and how well the score of a face separates failures from other faces."""

    uncorrupted: Row
    """The faces without a corruption."""
    rows: tuple[Row, ...]
    auroc: dict[str, float | None]
    """By corruption, over its strengths and the uncorrupted faces together, and "all": None without failures."""


def measure(model: Trained, faces: Sequence[AnnotatedFace], source: DataSource, seed: int = 0) -> Robustness:
    """Measures every corruption at every strength. Raises TrainingError unless set and network have the same points."""
    check_points(model.codec, source.layout)
    images, k = ImageCache(limit=2 << 30), model.codec.topk

    def predictions_under(corruption: Corruption | None = None, strength: float = 0.0) -> Predictions:
        return predict(
            model.network,
            faces,
            model.codec,
            model.crop_scale,
            [k],
            images=images,
            progress=True,
            layout=source.layout,
            correction=model.correction,
            cut=corrupted_crops(corruption, strength, model.crop_scale, seed) if corruption else crop_face,
            label=f"{corruption.name} {strength:g}" if corruption else "uncorrupted",
            plausibility=model.plausibility,
        )

    uncorrupted = predictions_under()
    rows, outcomes = [], {"none": [outcomes_of(uncorrupted, k)]}
    for each in CORRUPTIONS:
        for strength in each.strengths:
            predictions = predictions_under(each, strength)
            rows.append(row(each.name, strength, predictions, k))
            outcomes.setdefault(each.name, []).append(outcomes_of(predictions, k))
    by_name = {name: joint_auroc([*outcomes["none"], *parts]) for name, parts in outcomes.items() if name != "none"}
    by_name["all"] = joint_auroc([part for parts in outcomes.values() for part in parts])
    return Robustness(row("none", 0.0, uncorrupted, k), tuple(rows), by_name)


def corrupted_crops(corruption: Corruption, strength: float, crop_scale: float, seed: int) -> Cropper:
    """Crops faces in their order, each with random numbers of its own that do not depend on the strength."""
    generators = generators_by_face(seed, CORRUPTIONS.index(corruption))

    def cut(image: RgbImage, crop: Crop) -> tuple[RgbImage, Matrix]:
        return corruption.apply(FaceView(image, crop, max(crop.size) / crop_scale), strength, next(generators))

    return cut


def generators_by_face(seed: int, corruption: int) -> Iterator[np.random.Generator]:
    """A random generator for each face, in order."""
    return (np.random.default_rng([seed, corruption, face]) for face in count())


Outcomes = tuple[Array, NDArray[np.bool_]]
"""The scores [faces] and the failures [faces] of the same faces."""


def outcomes_of(predictions: Predictions, k: int) -> Outcomes:
    """The scores and the failures, with the decoder averaging k cells."""
    return predictions.scores(k), predictions.failures(k)


def joint_auroc(parts: Sequence[Outcomes]) -> float | None:
    """The AUROC over several sets of faces together; None without failures."""
    scores, failed = zip(*parts, strict=True)
    return auroc(np.concatenate(scores), np.concatenate(failed))


def row(name: str, strength: float, predictions: Predictions, k: int) -> Row:
    """A point of a curve, with the decoder averaging k cells."""
    figures, scores = predictions.report(k), predictions.scores(k)
    return Row(name, strength, figures.faces, figures.nme, figures.fr10, float(scores.mean()))


# ---------------------------------------------------------------- report


def write(result: Robustness, out: Path, title: str) -> None:
    """Writes robustness.csv, robustness.md and robustness.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "robustness.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        for each in (result.uncorrupted, *result.rows):
            numbers = (f"{each.nme:.3f}", f"{each.fr10:.2f}", f"{each.score:.4f}")
            writer.writerow([each.corruption, f"{each.strength:g}", each.faces, *numbers])
    (out / "robustness.md").write_text(page(result, title), encoding="utf-8")
    draw(result, out / "robustness.png")


def page(result: Robustness, title: str) -> str:
    """The curves as Markdown tables."""
    first = result.uncorrupted
    lines = [
        "# Robustness",
        "",
        f"{title} {first.faces} faces; uncorrupted: NME {first.nme:.2f} %, FR@10 {first.fr10:.1f} %, mean score "
        f"{first.score:.2f}.",
        "Made by `landmarks-train robustness`; each corruption is defined in `train/samples/corruptions.py`.",
        "",
        "![curves](robustness.png)",
    ]
    for each in CORRUPTIONS:
        rows = [row for row in result.rows if row.corruption == each.name]
        lines += ["", f"| {each.unit} | " + " | ".join(f"{row.strength:g}" for row in rows) + " |"]
        lines += ["| --- |" + " ---: |" * len(rows)]
        lines += ["| NME, % | " + " | ".join(f"{row.nme:.2f}" for row in rows) + " |"]
        lines += ["| FR@10, % | " + " | ".join(f"{row.fr10:.1f}" for row in rows) + " |"]
        lines += ["| mean score | " + " | ".join(f"{row.score:.2f}" for row in rows) + " |"]
    named = {"all": "all together"}
    figures = {named.get(name, name): "no failures" if v is None else f"{v:.3f}" for name, v in result.auroc.items()}
    lines += [
        "",
        f"How well a face's score ranks failures (NME above {100 * LIMIT:g} %): AUROC over the faces under a "
        "corruption and the uncorrupted ones.",
        "",
        "| " + " | ".join(figures) + " |",
        "|" + " ---: |" * len(figures),
        "| " + " | ".join(figures.values()) + " |",
    ]
    return "\n".join(lines) + "\n"


def draw(result: Robustness, path: Path) -> None:
    """Draws NME over the strength of each corruption, and the NME of uncorrupted faces as a line."""
    figure = new_figure(12, 7)
    for axes, each in zip(figure.subplots(2, 3, sharey=True).flat, CORRUPTIONS, strict=True):
        draw_curve(axes, each, [row for row in result.rows if row.corruption == each.name])
        axes.axhline(result.uncorrupted.nme, color="grey", linestyle="--", linewidth=1, label="uncorrupted")
        axes.axhline(100 * LIMIT, color="tab:red", linestyle=":", linewidth=1, label="failure")
    figure.axes[0].legend()
    figure.savefig(path)


def draw_curve(axes: Axes, corruption: Corruption, rows: Sequence[Row]) -> None:
    """Draws one corruption, from its least to its greatest strength."""
    ticks = [f"{row.strength:g}" for row in rows]
    axes.plot(ticks, [row.nme for row in rows], marker="o", markersize=4)
    axes.set(xlabel=corruption.unit, ylabel="NME, % (log)", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
