"""How the error grows as faces get harder to see: turned, small, blurred, compressed, covered, or badly boxed.

Every draw comes from (seed, disturbance, place in the list of faces): a curve is the same whatever else is measured.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Crop, Matrix
from train.datasets.face import AnnotatedFace
from train.datasets.image import RgbImage
from train.evaluation.metrics import LIMIT, Array, auroc
from train.samples.corruptions import CORRUPTIONS, Corruption, Cropper, FaceView, crop_face

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from train.datasets.source import DataSource
    from train.evaluation.predict import Predictions
    from train.evaluation.trained import Trained


# ---------------------------------------------------------------- measuring


class Row(NamedTuple):
    """A point of a curve."""

    disturbance: str
    strength: float
    faces: int
    nme: float
    """Percent."""
    fr10: float
    """Percent of the faces whose NME exceeds 10 %."""
    score: float
    """Mean of the faces' scores."""


@dataclass(frozen=True)
class Robustness:
    """The curves, and how well the score of a face tells the faces that failed."""

    plain: Row
    """Of the faces as they are."""
    rows: tuple[Row, ...]
    auroc: dict[str, float | None]
    """By disturbance, each over all of its strengths and the faces as they are; and over all: None without failures."""


def measure(model: Trained, faces: Sequence[AnnotatedFace], source: DataSource, seed: int = 0) -> Robustness:
    """Every disturbance at every strength. Raises TrainingError when the set has other points than the network."""
    from train.evaluation.predict import check_points, predict
    from train.samples.image_cache import ImageCache

    check_points(model.codec, source.layout)
    photos, k = ImageCache(limit=2 << 30), model.codec.topk

    def found(disturbance: Corruption | None = None, strength: float = 0.0) -> Predictions:
        return predict(
            model.network,
            faces,
            model.codec,
            model.crop_scale,
            [k],
            photos=photos,
            progress=True,
            layout=source.layout,
            correction=model.correction,
            cut=cut_with(disturbance, strength, model.crop_scale, seed) if disturbance else crop_face,
            label=f"{disturbance.name} {strength:g}" if disturbance else "as they are",
        )

    at_rest = found()
    rows, judged = [], {"none": [judge(at_rest, k)]}
    for each in CORRUPTIONS:
        for strength in each.strengths:
            predictions = found(each, strength)
            rows.append(row(each.name, strength, predictions, k))
            judged.setdefault(each.name, []).append(judge(predictions, k))
    ranked = {name: rank([*judged["none"], *parts]) for name, parts in judged.items() if name != "none"}
    ranked["all"] = rank([part for parts in judged.values() for part in parts])
    return Robustness(row("none", 0.0, at_rest, k), tuple(rows), ranked)


def cut_with(disturbance: Corruption, strength: float, crop_scale: float, seed: int) -> Cropper:
    """Cuts faces out in the order they come, each with draws of its own that do not depend on the strength."""
    draws = stream(seed, CORRUPTIONS.index(disturbance))

    def cut(photo: RgbImage, crop: Crop) -> tuple[RgbImage, Matrix]:
        return disturbance.apply(FaceView(photo, crop, crop.size / crop_scale), strength, next(draws))

    return cut


def stream(seed: int, disturbance: int) -> Iterator[np.random.Generator]:
    """A generator for each face, in order."""
    face = 0
    while True:
        yield np.random.default_rng([seed, disturbance, face])
        face += 1


Judged = tuple[Array, NDArray[np.bool_]]
"""Scores and failures of the same faces."""


def judge(predictions: Predictions, k: int) -> Judged:
    """What the scores are compared with."""
    return predictions.scores(k), predictions.failures(k)


def rank(parts: Sequence[Judged]) -> float | None:
    """The AUROC over several sets of faces together."""
    scores, failed = zip(*parts, strict=True)
    return auroc(np.concatenate(scores), np.concatenate(failed))


def row(name: str, strength: float, predictions: Predictions, k: int) -> Row:
    """A point of a curve."""
    figures, scores = predictions.report(k), predictions.scores(k)
    return Row(name, strength, figures.faces, figures.nme, figures.fr10, float(scores.mean()))


# ---------------------------------------------------------------- what is written


def write(result: Robustness, out: Path, title: str) -> None:
    """Writes robustness.csv, robustness.md and robustness.png into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "robustness.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        for each in (result.plain, *result.rows):
            numbers = (f"{each.nme:.3f}", f"{each.fr10:.2f}", f"{each.score:.4f}")
            writer.writerow([each.disturbance, f"{each.strength:g}", each.faces, *numbers])
    (out / "robustness.md").write_text(page(result, title), encoding="utf-8")
    draw(result, out / "robustness.png")


def page(result: Robustness, title: str) -> str:
    """The curves as tables of text."""
    first = result.plain
    lines = [
        "# Robustness",
        "",
        f"{title} {first.faces} faces; undisturbed: NME {first.nme:.2f} %, FR@10 {first.fr10:.1f} %, mean score "
        f"{first.score:.2f}.",
        "Made by `landmarks-train robustness`; how each disturbance is made is in `train/evaluation/robustness.py`.",
        "",
        "![curves](robustness.png)",
    ]
    for each in CORRUPTIONS:
        rows = [row for row in result.rows if row.disturbance == each.name]
        lines += ["", f"| {each.unit} | " + " | ".join(f"{row.strength:g}" for row in rows) + " |"]
        lines += ["| --- |" + " ---: |" * len(rows)]
        lines += ["| NME, % | " + " | ".join(f"{row.nme:.2f}" for row in rows) + " |"]
        lines += ["| FR@10, % | " + " | ".join(f"{row.fr10:.1f}" for row in rows) + " |"]
        lines += ["| mean score | " + " | ".join(f"{row.score:.2f}" for row in rows) + " |"]
    named = {"all": "all together"}
    figures = {named.get(name, name): "no failures" if v is None else f"{v:.3f}" for name, v in result.auroc.items()}
    lines += [
        "",
        f"How well a face's score ranks failures (NME above {100 * LIMIT:g} %): AUROC over a disturbance's faces and "
        "the undisturbed ones.",
        "",
        "| " + " | ".join(figures) + " |",
        "|" + " ---: |" * len(figures),
        "| " + " | ".join(figures.values()) + " |",
    ]
    return "\n".join(lines) + "\n"


def draw(result: Robustness, path: Path) -> None:
    """NME over the strength of each disturbance, and the undisturbed NME as a line."""
    from train.evaluation.plots import new_figure

    figure = new_figure(12, 7)
    for axes, each in zip(figure.subplots(2, 3, sharey=True).flat, CORRUPTIONS, strict=True):
        draw_curve(axes, each, [row for row in result.rows if row.disturbance == each.name])
        axes.axhline(result.plain.nme, color="grey", linestyle="--", linewidth=1, label="undisturbed")
        axes.axhline(100 * LIMIT, color="tab:red", linestyle=":", linewidth=1, label="failure")
    figure.axes[0].legend()
    figure.savefig(path)


def draw_curve(axes: Axes, disturbance: Corruption, rows: Sequence[Row]) -> None:
    """One disturbance, from the least to the most disturbing."""
    ticks = [f"{row.strength:g}" for row in rows]
    axes.plot(ticks, [row.nme for row in rows], marker="o", markersize=4)
    axes.set(xlabel=disturbance.unit, ylabel="NME, % (log)", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
