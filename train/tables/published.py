"""The paper's tables, as printed in Yu and Tao, "Heatmap Regression via Randomized Rounding" (arXiv:2009.00225).

`published/table-N.csv` holds the figures of Table N and nothing else: a test compares their checksums.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NUMBERS: Final = range(1, 15)
"""The tables of the paper."""


@dataclass(frozen=True)
class Published:
    """A table of the paper: its columns, and its rows with a cell for each."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def beside(self, labels: int, ours: Mapping[tuple[str, ...], Sequence[str]]) -> list[tuple[str, ...]]:
        """The rows of the paper, each after the row of `ours` with the same labels; then the other rows of ours.

        The first `labels` cells of a row are its labels; after them a cell says whose figures follow, `ours` or
        `paper`. Rows of ours have as many figures as those of the paper.
        """
        rows: list[tuple[str, ...]] = []
        for row in self.rows:
            key, figures = row[:labels], row[labels:]
            if key in ours:
                rows.append((*key, "ours", *ours[key]))
            rows.append((*key, "paper", *figures))
        known = {row[:labels] for row in self.rows}
        return rows + [(*key, "ours", *figures) for key, figures in ours.items() if key not in known]

    def header(self, labels: int) -> tuple[str, ...]:
        """The columns of `beside`."""
        return (*self.columns[:labels], "whose", *self.columns[labels:])

    def column(self, name: str, row: str) -> float | None:
        """The figure of a column, in the row whose first cell is `row`; None where the paper has none."""
        cells = next((each for each in self.rows if each[0] == row), None)
        cell = cells[self.columns.index(name)] if cells else "-"
        return None if cell == "-" else float(cell)


def published(number: int) -> Published:
    """Table `number` of the paper, from 1 to 14."""
    path = Path(__file__).parent / "published" / f"table-{number}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        columns, *rows = (tuple(row) for row in csv.reader(file))
    return Published(columns, tuple(rows))
