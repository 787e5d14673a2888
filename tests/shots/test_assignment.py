"""The assignment of least cost, against all there are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shots.assignment import least_cost

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(SIZES.flatmap(lambda size: arrays(float, size, elements=st.integers(0, 9).map(float))))
def test_no_other_assignment_costs_less(costs: np.ndarray) -> None:
    pairs = least_cost(costs)
    rows, columns = costs.shape
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs) == min(rows, columns)
    wide = costs if rows <= columns else costs.T
    least = min(
        sum(wide[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert sum(costs[row, column] for row, column in pairs) == least


def test_the_cheapest_pair_of_all_may_have_to_be_left() -> None:
    assert least_cost(np.array([[1.0, 2.0], [2.0, 9.0]])) == [(0, 1), (1, 0)]
