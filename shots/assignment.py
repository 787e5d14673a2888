"""The assignment of least total cost, by the Hungarian method with potentials (Kuhn; Munkres)."""

from __future__ import annotations

import numpy as np

from shots.tracks import Floats


def least_cost(costs: Floats) -> list[tuple[int, int]]:
    """Pairs of rows and columns of finite costs [R, C], min(R, C) of them, whose sum is the least."""
    if costs.shape[0] > costs.shape[1]:
        return sorted((row, column) for column, row in least_cost(costs.T))
    rows, columns = costs.shape
    # row and column 0 stand for none
    of_rows, of_columns = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        reduced = np.full(columns + 1, np.inf)
        before = np.zeros(columns + 1, int)
        is_used = np.zeros(columns + 1, bool)
        while row_of[column]:  # a path of least reduced cost to a column that is free
            is_used[column] = True
            each = row_of[column]
            candidate = costs[each - 1] - of_rows[each] - of_columns[1:]
            is_nearer = ~is_used[1:] & (candidate < reduced[1:])
            reduced[1:][is_nearer] = candidate[is_nearer]
            before[1:][is_nearer] = column
            nearest = int(np.argmin(np.where(is_used, np.inf, reduced)))
            delta = reduced[nearest]
            of_rows[row_of[is_used]] += delta
            of_columns[is_used] -= delta
            reduced[~is_used] -= delta
            column = nearest
        while column:
            row_of[column] = row_of[before[column]]
            column = int(before[column])
    return sorted((int(row_of[column]) - 1, column - 1) for column in range(1, columns + 1) if row_of[column])
