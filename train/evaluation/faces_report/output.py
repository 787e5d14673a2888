"""The tables as Markdown, and their curves as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.evaluation.faces_report.tables import Table
from train.evaluation.plots import new_figure


def page(tables: Sequence[Table]) -> str:
    """The tables as Markdown, without a title of their own."""
    lines = []
    for table in tables:
        lines += [f"### {table.title}", "", table.note, "", f"| | {' | '.join(table.cases)} |"]
        lines += ["| --- |" + " ---: |" * len(table.cases)]
        lines += [f"| {row} | {' | '.join(values)} |" for row, values in table.rows.items()]
        lines += [""]
    return "\n".join(lines)


def draw(tables: Sequence[Table], path: Path) -> None:
    """Draws the error over the cases of each table that has such a curve."""
    drawn = [table for table in tables if table.curves]
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = new_figure(4.2 * columns, 3.2 * rows)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for each, table in zip(axes.flat, drawn, strict=False):
        for name, curve in table.curves.items():
            each.plot(table.cases, curve, marker="o", markersize=4, label=name)
        each.set(title=table.title, yscale="log")
        each.yaxis.set_major_formatter("{x:g}")
        each.yaxis.set_minor_formatter("{x:g}")
        each.tick_params(axis="x", labelrotation=30, labelsize=8)
        each.grid(alpha=0.3, which="both")
    for each in list(axes.flat)[len(drawn) :]:
        each.set_axis_off()
    for row in axes:
        row[0].set_ylabel("error, % (log)")
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path)
