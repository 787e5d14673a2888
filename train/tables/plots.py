"""The plots of the tables, one function for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from train.evaluation.plots import new_figure

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""By name: x and y."""


@contextmanager
def plot(path: Path, x: str, y: str, width: float = 7.5) -> Iterator[Axes]:
    """Axes to draw on, labelled `x` and `y`. At the end of the `with`, writes the file, with a legend beside them.

    `width` in inches.
    """
    figure = new_figure(width, 4)
    axes = figure.subplots()
    yield axes
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def curves(path: Path, series: Series, x: str, y: str, ticks: Sequence[float] = ()) -> None:
    """One curve for each of the series; `ticks` on the x axis, where they are given."""
    with plot(path, x, y) as axes:
        for label, (xs, ys) in series.items():
            axes.plot(xs, ys, marker="o", markersize=4, label=label)
        if ticks:
            axes.set_xticks(ticks)


def bars(path: Path, groups: Sequence[str], rows: Mapping[str, Sequence[float]], y: str) -> None:
    """Bars side by side in each group, one per row."""
    with plot(path, "", y, width=max(7.5, 4 + 0.2 * len(groups) * len(rows))) as axes:
        width = 0.8 / len(rows)
        for i, (label, values) in enumerate(rows.items()):
            axes.bar([group + (i + 0.5) * width for group in range(len(groups))], values, width, label=label)
        axes.set_xticks([group + 0.4 for group in range(len(groups))], groups, rotation=20, ha="right")
        axes.set_axisbelow(True)


def scatter(path: Path, series: Series, x: str, y: str) -> None:
    """Points by name, x on a logarithmic scale."""
    with plot(path, x, y, width=9.0) as axes:
        for label, (xs, ys) in series.items():
            axes.scatter(xs, ys, label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
