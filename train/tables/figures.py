"""Figures 4, 7, 8 and 10 of the paper, on the data at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec, encode
from landmarks.crop import Crop, transform_points, warp
from landmarks.size import Size
from train.datasets.image import read_image
from train.datasets.source import DataSource
from train.errors import DataError
from train.evaluation.plots import MARGIN, TILE, new_figure
from train.evaluation.predictions import Predictions
from train.tables.ablation import METHODS
from train.tables.comparison import measured_run
from train.tables.context import Table, TableContext
from train.tables.decoding import errors_by_k
from train.tables.plots import plot
from train.tables.published import published

DRAWS: Final = 10_000
"""Of figure 4, for each point."""
POINTS: Final = ((1.2, 1.7), (4.5, 1.5), (2.0, 4.4))
"""The points of figure 4, x and y in cells."""
OUTER_EYES: Final[Mapping[str, tuple[int, int]]] = {"aflw19": (6, 11)}
"""The outer eye corners in layouts that do not divide errors by their distance."""
BINS: Final = 60
"""Of figure 7."""
ROWS: Final = 2
COLUMNS: Final = 6
"""Faces of figure 10: so many rows of good and of bad ones."""


def figure_4(context: TableContext) -> None:
    """The cells that randomized rounding encodes points as: how often each is drawn, beside eq. 14."""
    spec, rng = CodecSpec(points=1, input_size=Size.square(32), pixel_rule="corner", topk=4), np.random.default_rng(0)
    counts = np.zeros((6, 7))
    rows = []
    for point in POINTS:
        drawn = encode(np.tile(spec.to_pixels(np.array(point)), (DRAWS, 1)), spec, rng).cells
        for (column, row), share in activation_probabilities(point).items():
            counts[row, column] = (drawn == [column, row]).all(axis=1).mean()
            cells = (f"({column}, {row})", f"{share:.3f}", f"{counts[row, column]:.3f}")
            rows.append((f"({point[0]}, {point[1]})", *cells))
    Table(
        "figure-4",
        "Figure 4: points encoded by randomized rounding",
        f"How often each cell is drawn for three points, of {DRAWS:,} draws each, beside its probability by eq. 14. "
        "Cells are column and row, counted from 0. The cells that are not listed are never drawn.",
        ("point, cells", "cell", "eq. 14", "drawn"),
        tuple(rows),
    ).write(context.out)
    draw_cells(context.out / "figure-4.png", counts)


def activation_probabilities(point: tuple[float, float]) -> dict[tuple[int, int], float]:
    """Eq. 14: the cells (column, row) that a point (x, y) in cells may be encoded as, and their probabilities."""
    x, y = point
    left, top = int(x), int(y)
    across, down = x - left, y - top
    shares = {
        (left, top): (1 - across) * (1 - down),
        (left + 1, top): across * (1 - down),
        (left, top + 1): (1 - across) * down,
        (left + 1, top + 1): across * down,
    }
    return {cell: share for cell, share in shares.items() if share > 0}


def draw_cells(path: Path, shares: NDArray[np.float64]) -> None:
    """The share of each cell [rows, columns], and the points as crosses."""
    figure = new_figure(7, 5)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares > 0):
        axes.text(column, row - 0.3, f"{shares[row, column]:.2f}", ha="center", va="center", fontsize=8)
    x, y = zip(*POINTS, strict=True)
    axes.scatter(x, y, marker="x", color="red", label="the point, x / s and y / s")
    axes.set(xlabel="column", ylabel="row", title="share of the draws by cell")
    axes.legend(loc="lower right")
    figure.savefig(path)


def one_set(context: TableContext) -> None:
    """Figure 7 of a single data set."""
    figure_7([context.source], context.out)


def figure_7(sources: Sequence[DataSource], out: Path) -> None:
    """The histogram of the inter-ocular distance of all faces, one curve for each data set.

    Raises DataError without any, and as `eye_distances` does.
    """
    if not sources:
        raise DataError("figure 7 is made on data sets: add --data FORMAT:PATH ...")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with plot(out / "figure-7.png", "inter-ocular distance, pixels", "share of the faces, %") as axes:
        for source in sources:
            distances = eye_distances(source)
            edges = np.linspace(0, max(300.0, float(np.percentile(distances, 99))), BINS + 1)
            counts = np.histogram(distances, edges)[0]
            axes.step(edges[:-1], 100 * counts / len(distances), where="post", label=source.name)
            quarters = [f"{value:.0f}" for value in np.percentile(distances, (5, 25, 50, 75, 95))]
            within = 100 * float(((distances >= 30) & (distances <= 120)).mean())
            rows.append((source.name, str(len(distances)), *quarters, f"{within:.0f}"))
    Table(
        "figure-7",
        "Figure 7: the inter-ocular distance",
        "In pixels of the images, of the faces of the splits for training and for testing. Section 5.5 says of WFLW "
        "that most faces lie between 30 and 120 pixels.",
        ("data", "faces", "5 %", "25 %", "median", "75 %", "95 %", "from 30 to 120 px, %"),
        tuple(rows),
    ).write(out)


def eye_distances(source: DataSource) -> NDArray[np.float64]:
    """Of all faces whose outer eye corners are annotated, in pixels. Raises DataError where the layout has none."""
    corners = source.layout.outer_eye_corners or OUTER_EYES.get(source.layout.name)
    if corners is None:
        raise DataError(f"figure 7 shows distances between eyes: {source.name} has points of bodies")
    faces = [*source.train_faces(), *source.test_faces()]
    pairs = np.stack([face.points[list(corners)] for face in faces])
    distances: NDArray[np.float64] = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1)
    return distances[~np.isnan(distances)]


def figure_8(context: TableContext) -> None:
    """The error of the baseline and of the method over the crop size: the mean of the seeds, and their range."""
    by_k, by_samples = published(8), published(7)
    rows, measured = [], {}
    for size in sorted(context.sizes):
        for method, (quantizer, k) in METHODS.items():
            found = context.by_seed(
                lambda seed, size=size, quantizer=quantizer: context.spec(size, seed, quantizer=quantizer),  # type: ignore[misc]
                lambda run, k=k: errors_by_k(run, context, [k]),  # type: ignore[misc]
            )
            paper = by_k.column("k=9", str(size)) if method == "method" else paper_baseline(by_samples.columns, size)
            if found is not None:
                measured[size, method] = found[:, 0]
            ours = f"{found.mean():.2f}" if found is not None else "-"
            spread = f"{found.min():.2f} to {found.max():.2f}" if found is not None and len(found) > 1 else "-"
            rows.append((str(size), method, ours, spread, "-" if paper is None else f"{paper:.2f}"))
    Table(
        "figure-8",
        "Figure 8: the error over the crop size",
        f"{context.subject}; by the side of the crop in pixels. Baseline: round, and argmax to decode, as in "
        "section 4.3 (the figure's caption says k = 9 of all models). Method: randomized rounding, k = 9. The paper "
        "does not print the figure's values: those of the method are taken from its Table 8 (k = 9), and those of the "
        f"baseline are taken to be those of its Table 7 (7,500 samples).\n\n{context.protocol}",
        ("crop, px", "", "ours", "of the seeds", "paper"),
        tuple(rows),
    ).write(context.out)
    draw_sizes(context, measured)


def paper_baseline(columns: Sequence[str], size: Size) -> float | None:
    """The baseline of table 7 with all samples; None at sizes that it does not have."""
    name = f"{size} px, baseline"
    return published(7).column(name, "7500") if name in columns else None


def draw_sizes(context: TableContext, measured: Mapping[tuple[Size, str], NDArray[np.float64]]) -> None:
    """Ours with error bars over the seeds, and the paper's dashed."""
    by_k = published(8)
    with plot(context.out / "figure-8.png", "crop, pixels", "NME, %") as axes:
        for method in METHODS:
            of_method = {size: values for (size, name), values in measured.items() if name == method}
            values = list(of_method.values())
            if values:
                means = np.array([each.mean() for each in values])
                reach = np.stack([means - [each.min() for each in values], [each.max() for each in values] - means])
                sides = [max(size) for size in of_method]
                axes.errorbar(sides, means, reach, marker="o", capsize=3, label=f"ours, {method}")
        sides = [64, 96, 128, 256, 384, 512]
        axes.plot(sides, [by_k.column("k=9", str(side)) or 0 for side in sides], "--", label="paper, method")
        known = [64, 128, 256]
        baseline = [paper_baseline(published(7).columns, Size.square(side)) or 0 for side in known]
        axes.plot(known, baseline, "--", label="paper, baseline")
        axes.set_xticks(sides)


def figure_10(context: TableContext) -> None:
    """Faces of the test split, good cases, then bad ones: annotated points in blue, predicted ones in yellow."""
    name, trained = measured_run(context)
    k = trained.codec.topk
    predictions = context.predict(trained, [k])
    errors = 100 * np.nanmean(predictions.errors(k), axis=1)
    order = [int(face) for face in np.argsort(errors, kind="stable")]
    count = min(ROWS * COLUMNS, len(order) // 2)
    context.out.mkdir(parents=True, exist_ok=True)
    draw_cases(predictions, k, [*order[:count], *order[::-1][:count]], errors, name, context.out / "figure-10.png")


def draw_cases(
    predictions: Predictions, k: int, chosen: Sequence[int], errors: NDArray[np.float64], name: str, path: Path
) -> None:
    """A sheet of the chosen faces, with the error of each in percent."""
    points, tile = predictions.image_points(k), TILE / 160
    figure = new_figure(COLUMNS * tile, -(-len(chosen) // COLUMNS) * (tile + 0.2) + 0.5)
    figure.suptitle(f"{name}: the best and the worst of {len(errors)} faces")
    for position, i in enumerate(chosen, start=1):
        face = predictions.faces[i]
        both = np.concatenate([face.points, points[i]])
        box = np.concatenate([np.nanmin(both, axis=0), np.nanmax(both, axis=0)])
        matrix = Crop.around(box, MARGIN, Size.square(TILE)).image_to_crop()
        axes = figure.add_subplot(-(-len(chosen) // COLUMNS), COLUMNS, position)
        axes.imshow(warp(read_image(face.image), matrix, Size.square(TILE)))
        for each, color, label in ((face.points, "blue", "annotated"), (points[i], "yellow", "predicted")):
            x, y = transform_points(matrix, each).T
            axes.scatter(x, y, s=3, color=color, linewidths=0, label=label)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(f"{errors[i]:.2f} %", fontsize=8)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=3, frameon=False)
    figure.savefig(path)
