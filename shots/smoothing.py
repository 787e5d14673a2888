"""Smoothing of one face's points over a shot.

Offline, `smooth`: a Kalman filter and a Rauch-Tung-Striebel smoother for each point, whose motion from frame to frame
is that of the optical flow. So a point follows the skin without lag, and many frames are averaged in the skin's own
coordinates.

Four things make it what it is:

- The flow is that of a face, whose neighbouring points move alike (`shots.coherence`).
- The covariances that the network states are mostly errors that neighbouring frames share: they move a point, but not
  back and forth. Only their white share counts as noise of a frame.
- How noisy network and flow are differs from shot to shot, with sharpness and compression. The median of how far they
  disagree tells, and so does that of a frame, in which the face moves fast, of the flow to it.
- Where they disagree by more than such noise explains, as in a blink, which the flow does not see, the motion is as
  uncertain as the disagreement is large. So the points follow the network there, and blinks and mouths keep their
  range. It shows in a point, in the shape of a group of points, and soonest in how far an eye or a mouth is open.
  Elsewhere, such as at the jaw, the flow sees what moves, and part of the disagreement is an error of the network.

Live, `OneEuro`: a filter that knows the past alone (Casiez, Roussel and Vogel, CHI 2012).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shots.coherence import NOISE_SHARE, STRAIN, coherent
from shots.flow import Flow
from shots.matrices import inverse, matrices
from shots.tracks import Floats

WHITE: Final = 0.043
"""Share of the stated variance that is noise of one frame, of points in groups of EXPRESSIVE."""
STEADY_WHITE: Final = 0.6
"""The same of other points: most have no corners to be found by, and are averaged over more frames."""
DRIFT: Final = 0.0004
"""Share of the stated variance by which the error that frames share changes from one to the next."""
SCALES: Final = (0.4, 4.0)
"""Least and largest factor of the variances that is estimated from a shot; of those of the flow to one frame it may be
larger."""
GATE: Final = 7.0
"""Squared Mahalanobis distance of network and flow from which on they are not both believed."""
NETWORK_SHARE: Final = 0.4
"""Of the excess of that: the share that is the network's error, of points that are in no group of EXPRESSIVE."""
SHAPE_SHARE: Final = 0.28
"""Share of the noise of a frame that changes the shape of a group of points, such as an eye; the rest moves all."""
EXPRESSIVE: Final = ("right_eye", "left_eye", "outer_lips", "inner_lips")
"""Groups of a layout whose shape changes within a frame, where it has them."""
FREE: Final = ("outer_lips", "inner_lips")
"""Those of them whose points move against their neighbours, so that these do not tell how."""
_AT_A_TIME: Final = 32
"""Frames whose neighbours are tied at a time: 0.3 megabytes each."""
SHAPE_GATE: Final = 2.0
"""Mean normalized square of the change of a group's shape from which on the flow is not believed."""
_MEDIAN_SQUARED: Final = 2 * math.log(2)
"""The median of a chi-squared distribution of two degrees of freedom."""
BLIND_SHARE: Final = 0.05
"""Of the size of a face: standard deviation of its motion from one frame to the next where no flow tells it."""

SETTINGS: Final[Mapping[str, Any]] = {
    "method": "flow-rts",
    "white": WHITE,
    "steady_white": STEADY_WHITE,
    "drift": DRIFT,
    "strain": STRAIN,
    "flow_noise_share": NOISE_SHARE,
    "scales": list(SCALES),
    "gate": GATE,
    "network_share": NETWORK_SHARE,
    "shape_share": SHAPE_SHARE,
    "shape_gate": SHAPE_GATE,
}


@dataclass(frozen=True, eq=False)
class Observed:
    """One face through the frames in which it was found: F frames, P points."""

    points: Floats
    """[F, P, 2]"""
    covariances: Floats
    """[F, P, 3] xx, xy, yy"""
    flows: Sequence[Flow | None]
    """[F] where the points of the one before are; None for the first, after a gap, and where nothing is known"""
    steps: Sequence[int] = ()
    """[F] frames since the one before; 1 where left out"""
    groups: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Of a layout: name -> indices of points that move together, such as those of an eye"""

    @property
    def expressive(self) -> list[list[int]]:
        """The groups whose shape changes."""
        return [list(self.groups[name]) for name in EXPRESSIVE if name in self.groups]

    def is_in(self, groups: Sequence[str]) -> NDArray[np.bool_]:
        """[P]"""
        members = [point for name in groups if name in self.groups for point in self.groups[name]]
        return np.isin(np.arange(self.points.shape[1]), members)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The estimate for each frame."""

    points: Floats
    """[F, P, 2]"""
    covariances: Floats
    """[F, P, 3] xx, xy, yy, the error that frames share included"""
    innovation: float
    """Mean normalized innovation squared of a coordinate: 1 where the noise is as stated."""


@dataclass(frozen=True, eq=False)
class _Flows:
    """The coherent flow to those frames to which there is one."""

    at: NDArray[np.intp]
    """[K] the frames"""
    points: Floats
    """[K, P, 2]"""
    covariances: Floats
    """[K, P, 2, 2]"""


@dataclass(frozen=True, eq=False)
class _Steps:
    """How the points get to a frame from the one before, as far as is known without looking at them."""

    shift: Floats
    """[F, P, 2]"""
    variance: Floats
    """[F, P, 2, 2] of that"""
    excess: Floats
    """[F, P, 2, 2] of what network and flow disagree by beyond both"""


def smooth(observed: Observed) -> Smoothed:
    """The smoothed points of one face. The arrays of `observed` are not changed."""
    z, stated = observed.points, matrices(observed.covariances)
    frames, count = z.shape[:2]
    is_expressive = observed.is_in(EXPRESSIVE)
    flows = _coherent(observed)
    white, drift = stated * np.where(is_expressive, WHITE, STEADY_WHITE)[:, None, None], DRIFT * stated
    scale, scale_of_flows = _scales(observed, flows, WHITE * stated, drift)
    noise = scale * white + 1e-6 * np.eye(2)
    of_flows = scale_of_flows[:, None, None, None] * (flows.covariances + drift[flows.at])
    steps = _steps(observed, flows, of_flows, noise)
    of_network = np.where(is_expressive, 0.0, NETWORK_SHARE)[:, None, None]
    noise, motion = noise + of_network * steps.excess, steps.variance + (1 - of_network) * steps.excess
    mean, spread = np.empty_like(z), np.empty((frames, count, 2, 2))
    ahead, ahead_spread = np.empty_like(z), np.empty_like(spread)
    innovations = 0.0
    for t in range(frames):
        if t == 0:
            mean[0], spread[0] = z[0], noise[0]
            ahead[0], ahead_spread[0] = z[0], noise[0]
            continue
        ahead[t], ahead_spread[t] = mean[t - 1] + steps.shift[t], spread[t - 1] + motion[t]
        total = inverse(ahead_spread[t] + noise[t])
        gain = ahead_spread[t] @ total
        difference = z[t] - ahead[t]
        innovations += float(np.einsum("pi,pij,pj->", difference, total, difference))
        mean[t] = ahead[t] + np.einsum("pij,pj->pi", gain, difference)
        spread[t] = ahead_spread[t] - gain @ ahead_spread[t]
    for t in range(frames - 2, -1, -1):
        back = spread[t] @ inverse(ahead_spread[t + 1])
        mean[t] += np.einsum("pij,pj->pi", back, mean[t + 1] - ahead[t + 1])
        spread[t] += back @ (spread[t + 1] - ahead_spread[t + 1]) @ back.swapaxes(-1, -2)
    # what frames share stays in the error of the result
    shared = (1 - WHITE) * stated + spread
    covariances = np.stack([shared[..., 0, 0], shared[..., 0, 1], shared[..., 1, 1]], axis=-1)
    return Smoothed(mean, covariances, innovations / max(1, 2 * count * (frames - 1)))


def _coherent(observed: Observed) -> _Flows:
    """The flow to each frame, its neighbours tied together."""
    known = [(t, flow) for t, flow in enumerate(observed.flows) if t > 0 and flow is not None]
    at = np.array([t for t, _ in known], np.intp)
    keeps_variance = observed.is_in(FREE)
    points, covariances = np.empty_like(observed.points[at]), np.empty_like(observed.covariances[at])
    for start in range(0, len(known), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        followed = [flow for _, flow in known[part]]
        flow = Flow(np.stack([each.points for each in followed]), np.stack([each.covariances for each in followed]))
        tied = coherent(flow, observed.points[at[part] - 1], keeps_variance)
        points[part], covariances[part] = tied.points, tied.covariances
    return _Flows(at, points, matrices(covariances))


def _scales(observed: Observed, flows: _Flows, white: Floats, drift: Floats) -> tuple[float, Floats]:
    """By which factors the variances of a shot differ from what is expected: of all of it, and [K] of those of each
    flow, which is no less. By the medians of how far network and flow disagree, so that neither blinks nor single
    points count.
    """
    at = flows.at
    if not len(at):
        return 1.0, np.ones(0)
    expected = flows.covariances + drift[at] + white[at] + white[at - 1]
    medians = np.median(_squared(observed.points[at] - flows.points, expected), axis=1) / _MEDIAN_SQUARED
    scale = float(np.clip(np.median(medians), *SCALES))
    return scale, np.maximum(scale, medians)


def _steps(observed: Observed, flows: _Flows, of_flows: Floats, noise: Floats) -> _Steps:
    """`of_flows` [K, P, 2, 2]: their covariances. `noise` [F, P, 2, 2]: of each frame."""
    z, at = observed.points, flows.at
    lengths = np.asarray(observed.steps or [1] * len(z), np.float64)
    sizes = np.sqrt(np.ptp(np.roll(z, 1, axis=0), axis=1).prod(axis=1))
    blind = (BLIND_SHARE * sizes * lengths)[:, None, None, None] ** 2 * np.eye(2)
    shift, variance, excess = np.zeros_like(z), np.broadcast_to(blind, noise.shape).copy(), np.zeros_like(noise)
    shift[at] = flows.points - z[at - 1]
    disagreement = z[at] - flows.points
    expected = of_flows + noise[at] + noise[at - 1]
    beyond = np.clip(1 - GATE / np.maximum(_squared(disagreement, expected), 1e-12), 0, 1)
    excess[at] = beyond[..., None, None] * _outer(disagreement)
    variance[at] = of_flows
    for members in observed.expressive:
        points = (z[at - 1] + z[at])[:, members] / 2
        group = disagreement[:, members], expected[:, members]
        variance[at[:, None], members] += _shape_excess(*group) + _opening_excess(points, *group)
    return _Steps(shift, variance, excess)


def _squared(differences: Floats, covariances: Floats) -> Floats:
    """Squared Mahalanobis distances [..., P], of [..., P, 2] and [..., P, 2, 2]."""
    squared: Floats = np.einsum("...i,...ij,...j->...", differences, inverse(covariances), differences)
    return squared


def _shape_excess(disagreement: Floats, expected: Floats) -> Floats:
    """What is added to the variance of the motion of a group's points [K, G, 2] where its shape changes: [K, G, 2, 2].

    Most of the noise moves the points of a group together, so a change of its shape shows long before that of a point.
    """
    of_shape = disagreement - disagreement.mean(axis=1, keepdims=True)
    squared = _squared(of_shape, SHAPE_SHARE * expected).mean(axis=1) / 2
    share = np.maximum(0.0, 1 - SHAPE_GATE / np.maximum(squared, 1e-12))
    excess: Floats = share[:, None, None, None] * _outer(of_shape)
    return excess


def _opening_excess(points: Floats, disagreement: Floats, expected: Floats) -> Floats:
    """What is added to the variance of the motion of a group's points [K, G, 2] where it opens or closes: [K, G, 2, 2].

    An eye that closes moves all its points along its shorter axis, by as much as they lie off the longer one. That is
    one number, whose noise is small, so that what exceeds its variance is taken for motion at once.
    """
    centred = points - points.mean(axis=1, keepdims=True)
    shorter_axis = np.linalg.eigh(centred.swapaxes(1, 2) @ centred)[1][:, :, 0]
    offsets = np.einsum("kgi,ki->kg", centred, shorter_axis)
    weight = np.maximum(np.square(offsets).sum(axis=1), 1e-12)
    rate = np.einsum("kg,kgi,ki->k", offsets, disagreement, shorter_axis) / weight
    variances = np.einsum("ki,kgij,kj->kg", shorter_axis, expected, shorter_axis)
    variance = (np.square(offsets) * variances).sum(axis=1) / weight**2
    share = np.maximum(0.0, 1 - variance / np.maximum(rate**2, 1e-12))
    excess: Floats = share[:, None, None, None] * _outer((rate[:, None] * offsets)[..., None] * shorter_axis[:, None])
    return excess


def _outer(vectors: Floats) -> Floats:
    """[..., 2] -> [..., 2, 2]"""
    result: Floats = vectors[..., :, None] * vectors[..., None, :]
    return result


class OneEuro:
    """A live filter of points [P, 2]: the faster they move, the less it smooths."""

    def __init__(
        self,
        points: Floats | None = None,
        velocities: Floats | None = None,
        *,
        min_cutoff: float = 4.0,
        speed_factor: float = 30.0,
        derivative_cutoff: float = 4.0,
    ) -> None:
        """`points`, `velocities`: those of a filter that is continued. `min_cutoff`: Hz, of points at rest.
        `speed_factor`: Hz by which it rises for each size of the face that a point moves in a second.
        `derivative_cutoff`: Hz, of the velocities.
        """
        self._min_cutoff, self._factor, self._derivative_cutoff = min_cutoff, speed_factor, derivative_cutoff
        self.points = points
        """The filtered ones, once there are any."""
        self.velocities = velocities
        """Pixels a second, filtered"""

    def __call__(self, points: Floats, seconds: float) -> Floats:
        """The filtered points, `seconds` after those of the call before."""
        if self.points is None or self.velocities is None:
            self.points, self.velocities = points.copy(), np.zeros_like(points)
            return points.copy()
        velocities = (points - self.points) / seconds
        self.velocities = self.velocities + _share(self._derivative_cutoff, seconds) * (velocities - self.velocities)
        size = max(math.sqrt(float(np.ptp(points, axis=0).prod())), 1e-6)
        cutoff = self._min_cutoff + self._factor * np.linalg.norm(self.velocities, axis=1, keepdims=True) / size
        self.points = self.points + _share(cutoff, seconds) * (points - self.points)
        return self.points.copy()


def _share(cutoff: Any, seconds: float) -> Any:
    """The weight of a new value in a low-pass filter of this cutoff in Hz."""
    rate = 2 * math.pi * cutoff * seconds
    return rate / (rate + 1)
