"""The paper's tables on the data at hand: `landmarks-train table NUMBER` trains or reuses what a table needs."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from train.config import load_config
from train.datasets import FORMATS, DataSource
from train.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from train.trained import Trained

KS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30)
"""Cells averaged, as Table 8 sweeps them."""
SIZES: Final[Mapping[int, str]] = {64: "compact64", 128: "compact128", 256: "compact"}
"""Crop sizes in pixels, and the shipped configuration that ends at each."""


@dataclass(frozen=True)
class Workshop:
    """The data, where runs lie, and where tables go."""

    source: DataSource
    runs: Path
    out: Path
    train: bool
    """Whether a run that is missing or unfinished is trained, rather than an error."""

    def trained(self, config_name: str) -> Trained:
        """The finished run of a shipped configuration, trained now if need be. Raises TrainingError."""
        from train.loop import REPORT_FILE, Run, TrainingData
        from train.trained import open_run

        folder = self.runs / config_name
        if not (folder / REPORT_FILE).is_file():
            if not self.train:
                raise TrainingError(f"{folder} holds no finished run: leave --reuse-only out to train it now")
            data = TrainingData((self.source.name,), self.source.train_faces(), self.source.layout)
            run = Run(load_config(config_name), data, folder)
            if run.checkpoint.exists():
                run.resume()
            run.train(self.source.test_faces())
        return open_run(folder)


@dataclass(frozen=True)
class Table:
    """Figures by row and column, with what a reader must know of them."""

    name: str
    title: str
    notes: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def write(self, out: Path) -> None:
        """`<name>.md` and `<name>.csv`."""
        out.mkdir(parents=True, exist_ok=True)
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        (out / f"{self.name}.md").write_text(f"# {self.title}\n\n{self.notes}\n\n{table}\n", encoding="utf-8")
        with (out / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *self.rows])


def errors_by_k(trained: Trained, source: DataSource, ks: Sequence[int]) -> NDArray[np.float64]:
    """NME in percent for each k, [len(ks)]: every heatmap is searched once, for the largest k."""
    from tqdm import tqdm

    from landmarks.codec import strongest_cells, topk_mean
    from landmarks.crop import transform_points
    from train.evaluate import crops_of
    from train.metrics import inter_ocular, point_errors
    from train.samples import PhotoCache

    faces, codec = source.test_faces(), trained.codec
    errors: list[list[float]] = []
    batches = crops_of(faces, trained.crop_scale, codec.input_size, "P2", PhotoCache(limit=0))
    with tqdm(total=len(faces), desc=f"decode at {codec.input_size} px", unit="face", leave=False) as bar:
        for crops, matrices in batches:
            done = len(errors)
            for maps, matrix, face in zip(trained.network(crops), matrices, faces[done:], strict=False):
                logits, cells = strongest_cells(maps, max(ks))
                found = [topk_mean(logits[:, :k], cells[:, :k], codec.cells)[1] for k in ks]
                truth = transform_points(matrix, face.points)[None]
                lengths = inter_ocular(truth, source.layout)
                errors.append([float(point_errors(codec.to_pixels(u)[None], truth, lengths).mean()) for u in found])
            bar.update(len(crops))
    nme: NDArray[np.float64] = 100 * np.array(errors).mean(axis=0)
    return nme


def table_8(shop: Workshop) -> None:
    """The error over k at three crop sizes, as a table, and as Fig. 8's curve over the crop size."""
    by_size = {size: errors_by_k(shop.trained(name), shop.source, KS) for size, name in SIZES.items()}
    rows = [(str(k), *(f"{by_size[size][i]:.2f}" for size in SIZES)) for i, k in enumerate(KS)]
    gains = [f"{100 * (1 - by_size[size].min() / by_size[size][0]):.0f} %" for size in SIZES]
    Table(
        "table-8",
        "Table 8: the error over k",
        f"NME in percent of the inter-ocular distance on {shop.source.name}, P2 boxes, the compact backbone; by the\n"
        "number k of cells averaged and the side of the crop. On its own data and network the paper cuts 6.45 to 4.62\n"
        "at 64 pixels, by 28 %.",
        ("k", *(f"{size} px" for size in SIZES)),
        (*rows, ("cut by the best k", *gains)),
    ).write(shop.out)
    plot(by_size, shop.out)


def plot(by_size: Mapping[int, NDArray[np.float64]], out: Path) -> None:
    """`table-8.png`, the error over k; `fig-8.png`, the error over the crop size."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for size, errors in by_size.items():
        axes.plot(KS, errors, marker="o", markersize=4, label=f"{size} px")
    axes.set(xlabel="k, cells averaged", ylabel="NME, % of the inter-ocular distance")
    axes.legend(title="crop")
    figure.savefig(out / "table-8.png", dpi=120)

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(list(by_size), [errors[0] for errors in by_size.values()], marker="o", label="k = 1")
    axes.plot(list(by_size), [errors.min() for errors in by_size.values()], marker="o", label="best k")
    axes.set(xlabel="crop, pixels", ylabel="NME, % of the inter-ocular distance", xticks=list(by_size))
    axes.legend()
    figure.savefig(out / "fig-8.png", dpi=120)


TABLES: Final[Mapping[str, Callable[[Workshop], None]]] = {"8": table_8}


def add_commands(commands: Any) -> None:
    """`landmarks-train table`."""
    command: argparse.ArgumentParser = commands.add_parser("table", help="one of the paper's tables, on your data")
    command.add_argument("number", choices=sorted(TABLES), help="8: the error over k and crop size (with Fig. 8)")
    names = ", ".join(FORMATS)
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=f"a data set; FORMAT is one of {names}")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie and are made [%(default)s]")
    command.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the table [%(default)s]")
    command.add_argument("--reuse-only", action="store_true", help="fail rather than train what is missing")
    command.set_defaults(act=run)


def run(args: argparse.Namespace) -> None:
    """Makes the table and says where it is."""
    TABLES[args.number](Workshop(DataSource.parse(args.data), args.runs, args.out, not args.reuse_only))
    print(f"wrote table {args.number} into {args.out}")
