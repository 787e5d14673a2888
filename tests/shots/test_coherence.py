"""What tying neighbours together does to the motions of points that are followed one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shots.coherence import coherent
from shots.flow import Flow

GRID = np.stack(np.meshgrid(np.arange(7.0), np.arange(7.0)), axis=-1).reshape(-1, 2) * 20
"""49 points of a face of 120 pixels; the last axis is x, y."""
MIDDLE = 24
NEIGHBOURS = [17, 23, 25, 31]
"""Those of MIDDLE that are 20 pixels away."""
SURE = np.tile([1e-3, 0.0, 1e-3], (len(GRID), 1))
SHIFT = np.array([2.0, 1.0])
NOBODY = np.zeros(len(GRID), bool)


def motions(flow: Flow, keeps_variance: np.ndarray = NOBODY) -> tuple[np.ndarray, np.ndarray]:
    result = coherent(flow, GRID, keeps_variance)
    return result.points - GRID, result.covariances


def test_what_all_points_share_stays_as_it_is() -> None:
    turned = GRID @ np.array([[0.98, 0.05], [-0.06, 1.03]]) + [7.0, -3.0]
    assert coherent(Flow(turned, SURE), GRID, NOBODY).points == pytest.approx(turned, abs=1e-6)


def test_a_window_that_went_astray_is_put_back() -> None:
    moved = GRID + SHIFT
    moved[MIDDLE] += [6.0, 0.0]
    covariances = SURE.copy()
    covariances[MIDDLE] = [9.0, 0.0, 9.0]  # followed forth and back it came out some pixels from where it was
    found, _ = motions(Flow(moved, covariances))
    assert found[MIDDLE] == pytest.approx([2.0, 1.0], abs=0.1)
    assert found[NEIGHBOURS] == pytest.approx(np.tile([2.0, 1.0], (4, 1)), abs=0.05)


def test_where_no_window_tells_neighbours_do_and_the_variance_says_how_well() -> None:
    covariances = SURE.copy()
    covariances[MIDDLE] = [400.0, 0.0, 400.0]
    moved = GRID + SHIFT
    moved[MIDDLE] += [3.0, -3.0]
    found, stated = motions(Flow(moved, covariances))
    assert found[MIDDLE] == pytest.approx([2.0, 1.0], abs=0.02)
    # eight neighbours at 20 to 28 pixels that may strain by 3 % of that: 0.6 to 0.85 pixels, of eight 0.25 together
    assert 0.1 < np.sqrt(stated[MIDDLE, 0]) < 0.25


def test_along_an_edge_neighbours_decide_and_across_it_the_window() -> None:
    covariances = SURE.copy()
    covariances[MIDDLE] = [400.0, 0.0, 1e-3]
    moved = GRID + SHIFT
    moved[MIDDLE] += [3.0, 0.2]
    found, _ = motions(Flow(moved, covariances))
    assert found[MIDDLE, 0] == pytest.approx(2.0, abs=0.03)
    assert found[MIDDLE, 1] == pytest.approx(1.2, abs=0.03)


def test_a_lid_that_closes_moves_against_its_neighbours() -> None:
    """Three points in a row, half as far from each other as from the rest."""
    lid = np.array([[50.0, 64.0], [60.0, 64.0], [70.0, 64.0]])
    before = np.concatenate([GRID, lid])
    after = before.copy()
    after[-3:, 1] += 6
    covariances = np.tile([1e-3, 0.0, 1e-3], (len(before), 1))
    found = coherent(Flow(after, covariances), before, np.zeros(len(before), bool)).points - before
    assert np.abs(found[:-3]).max() < 0.5
    assert found[-3:, 1] == pytest.approx([6.0, 6.0, 6.0], abs=0.6)


def test_expressive_points_keep_the_covariances_of_their_windows() -> None:
    keeps = NOBODY.copy()
    keeps[MIDDLE] = True
    _, stated = motions(Flow(GRID + 1.0, SURE), keeps)
    assert stated[MIDDLE].tolist() == SURE[MIDDLE].tolist()
    assert np.diff(stated[NEIGHBOURS], axis=0) == pytest.approx(0, abs=1e-9)
    assert (stated[0] != SURE[0]).any()


@given(
    linear=st.lists(st.floats(-0.05, 0.05), min_size=4, max_size=4),
    shift=st.lists(st.floats(-20, 20), min_size=2, max_size=2),
    data=st.data(),
)
def test_a_motion_of_the_whole_face_is_added_to_what_is_found(
    linear: list[float], shift: list[float], data: st.DataObject
) -> None:
    values = st.lists(st.floats(-1, 1), min_size=GRID.size, max_size=GRID.size)
    own = np.array(data.draw(values)).reshape(GRID.shape)
    common = GRID @ np.array(linear).reshape(2, 2) + shift
    still, _ = motions(Flow(GRID + own, SURE))
    moving, _ = motions(Flow(GRID + own + common, SURE))
    assert moving == pytest.approx(still + common, abs=1e-4)


def test_points_that_coincide_and_windows_that_are_all_lost_give_finite_motions() -> None:
    before = np.zeros((5, 2))
    covariances = np.tile([400.0, 0.0, 400.0], (5, 1))
    found = coherent(Flow(before + 1.0, covariances), before, np.zeros(5, bool))
    assert found.points == pytest.approx(before + 1.0, abs=1e-6)
    assert np.isfinite(found.covariances).all()
