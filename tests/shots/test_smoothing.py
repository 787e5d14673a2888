"""What smoothing does to points whose motion is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shots.flow import Flow
from shots.matrices import inverse, matrices
from shots.smoothing import WHITE, Observed, OneEuro, smooth

FRAMES, POINTS = 40, 12
STATED = 1.0
"""Pixels squared; the white noise below has a hundredth of it."""
SHAPE = np.random.default_rng(1).random((POINTS, 2)) * 100


def moving(
    *,
    noise: float = 0.1,
    is_shared: bool = False,
    seed: int = 0,
    event: np.ndarray | None = None,
    shape: np.ndarray = SHAPE,
) -> tuple[Observed, np.ndarray]:
    """A face that moves to the right, as the flow sees exactly; and the truth. `event` [F, P, 2] is added to the truth,
    and the flow does not see it. Where noise `is_shared`, all points of a frame have the same.
    """
    random = np.random.default_rng(seed)
    truth = shape + np.arange(FRAMES)[:, None, None] * np.array([2.0, 0.5])
    seen = truth if event is None else truth + event
    z = seen + random.normal(0, noise, (FRAMES, 1, 2) if is_shared else truth.shape)
    moved = truth[1:] - truth[:-1]
    flows = [None, *(Flow(z[t] + moved[t], np.tile([4e-4, 0, 4e-4], (POINTS, 1))) for t in range(FRAMES - 1))]
    return Observed(z, np.tile([STATED, 0.0, STATED], (FRAMES, POINTS, 1)), flows), seen


def test_noise_is_reduced_without_lag() -> None:
    observed, truth = moving()
    result = smooth(observed)
    assert np.sqrt(np.mean((result.points - truth) ** 2)) < 0.5 * np.sqrt(np.mean((observed.points - truth) ** 2))
    # the motion is 2 pixels a frame, so a lag of a tenth of a frame is 0.2 pixels
    assert np.abs((result.points - truth)[5:-5].mean(axis=(0, 1))).max() < 0.02


@pytest.mark.parametrize("amplitude", [3.0, 8.0])
def test_a_blink_that_the_flow_does_not_see_keeps_its_range_and_its_frame(amplitude: float) -> None:
    event = np.zeros((FRAMES, POINTS, 2))
    event[19:22, 3, 1] = amplitude * np.array([0.6, 1.0, 0.6])
    observed, truth = moving(event=event)
    blink = (smooth(replace(observed, groups={"left_eye": (2, 3, 4)})).points - (truth - event))[:, 3, 1]
    assert int(np.argmax(blink)) == 20
    assert blink[20] > 0.9 * amplitude
    assert np.abs(blink[:18]).max() < 0.3


def test_a_jump_of_the_network_alone_is_smoothed_where_there_is_no_expression() -> None:
    event = np.zeros((FRAMES, POINTS, 2))
    event[20, 3, 1] = 3.0
    observed, seen = moving(event=event)
    off = np.abs(smooth(observed).points - (seen - event))[:, 3, 1]
    assert off[20] < 1.5
    assert off[[17, 18, 22, 23]].max() < 0.3


@given(factor=st.floats(0.3, 1.8))
def test_the_noise_of_a_shot_is_found_out(factor: float) -> None:
    """Covariances that are all wrong by a factor hardly change the points and the innovation.

    They do slightly, because how well neighbours tell a point's motion does not follow from them alone.
    """
    observed, _ = moving(noise=float(np.sqrt(WHITE * STATED)))
    flows = [each and Flow(each.points, each.covariances * factor) for each in observed.flows]
    wrong = replace(observed, covariances=observed.covariances * factor, flows=flows)
    right = smooth(observed)
    # the noise is 0.2 pixels
    assert smooth(wrong).points == pytest.approx(right.points, abs=0.06)
    assert smooth(wrong).innovation == pytest.approx(right.innovation, rel=0.1)


def test_where_the_flow_to_a_frame_is_off_the_network_is_followed() -> None:
    """A head that turns fast in one frame, which is blurred: the flow sees half of the motion."""
    step = np.zeros((FRAMES, POINTS, 2))
    step[20:] = [6.0, 0.0]
    observed, seen = moving(event=step)
    points = smooth(observed).points
    assert np.abs(points - seen)[[18, 19, 20, 21]].mean() < 0.2


@pytest.mark.parametrize("angle", [0.0, 40.0, 90.0])
def test_an_eye_that_closes_a_little_keeps_its_range(angle: float) -> None:
    """No point moves by more than a pixel, which noise might explain, but all move along the eye's shorter axis."""
    turn = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    eye = np.stack([15 * np.cos(turn), 5 * np.sin(turn)], axis=1) @ np.array([[c, s], [-s, c]])
    across = np.array([-s, c])
    event = np.zeros((FRAMES, POINTS, 2))
    event[19:22] = -0.2 * np.array([0.6, 1.0, 0.6])[:, None, None] * (eye @ across)[:, None] * across
    observed, truth = moving(shape=eye, event=event)
    points = smooth(replace(observed, groups={"right_eye": tuple(range(POINTS))})).points
    closed = ((points - (truth - event)) @ across @ (eye @ across)) / np.sum((eye @ across) ** 2)
    assert int(np.argmin(closed)) == 20
    assert closed[20] < -0.15
    assert np.abs(closed[:18]).max() < 0.02


def test_the_result_does_not_depend_on_where_the_face_is() -> None:
    observed, _ = moving()
    shift = np.array([1000.0, -300.0])
    flows = [flow and Flow(flow.points + shift, flow.covariances) for flow in observed.flows]
    moved = Observed(observed.points + shift, observed.covariances, flows)
    np.testing.assert_allclose(smooth(moved).points - shift, smooth(observed).points, atol=1e-6)


def test_time_may_run_backwards() -> None:
    """The smoother knows the past and the future alike."""
    observed, _ = moving()
    z = observed.points[::-1].copy()
    step = np.array([2.0, 0.5])
    flows = [None, *(Flow(z[t] - step, observed.flows[1].covariances) for t in range(FRAMES - 1))]  # type: ignore[union-attr]
    back = smooth(Observed(z, observed.covariances, flows)).points[::-1]
    assert np.abs(back - smooth(observed).points).max() < 0.02


def test_without_flow_points_are_hardly_changed_and_one_frame_not_at_all() -> None:
    observed, _ = moving()
    alone = smooth(Observed(observed.points, observed.covariances, [None] * FRAMES)).points
    assert np.abs(alone - observed.points).max() < 0.1
    one = smooth(Observed(observed.points[:1], observed.covariances[:1], [None]))
    np.testing.assert_array_equal(one.points, observed.points[:1])
    assert one.innovation == 0


def test_the_innovation_is_about_1_where_the_noise_is_as_stated() -> None:
    observed, _ = moving(noise=float(np.sqrt(WHITE * STATED)), is_shared=True)
    observed = replace(observed, groups={"outer_lips": tuple(range(POINTS))})
    assert 0.7 < smooth(observed).innovation < 1.4


def test_covariances_stay_those_of_the_errors_that_frames_share() -> None:
    observed, _ = moving()
    covariances = smooth(observed).covariances
    assert (covariances[..., 0] > 0.9 * STATED).all()
    assert (covariances[..., 0] < 1.1 * STATED).all()


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(-0.9, 0.9))
def test_inverse(a: float, d: float, correlation: float) -> None:
    b = correlation * np.sqrt(a * d)
    matrix = matrices(np.array([[a, b, d]]))
    np.testing.assert_allclose(inverse(matrix) @ matrix, np.eye(2)[None], atol=1e-9)


# ---------------------------------------------------------------- live


def test_the_live_filter_is_calm_at_rest_and_quick_in_motion() -> None:
    random = np.random.default_rng(0)
    still = OneEuro()
    rest = np.stack([still(SHAPE + random.normal(0, 0.3, SHAPE.shape), 1 / 24) for _ in range(200)])
    assert rest[20:].std(axis=0).mean() < 0.8 * 0.3
    quick = OneEuro()
    speed = 5.0  # pixels a frame
    path = np.stack([quick(SHAPE + np.array([speed * t, 0.0]), 1 / 24) for t in range(60)])
    lag = (SHAPE[:, 0] + speed * 59 - path[-1, :, 0]) / speed
    assert np.abs(lag).max() < 1


def test_the_live_filter_starts_with_the_first_points() -> None:
    np.testing.assert_array_equal(OneEuro()(SHAPE, 1 / 24), SHAPE)
