"""Fits the 3-D face model to the 98 points of one face: pose, identity and expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

from landmarks.layout import WFLW98
from train.datasets.conversion import ADDED
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.pose import Pose, about, align
from train.pose_synthesis.silhouette import (
    JAW,
    MIDDLE,
    Places,
    Spacing,
    all_places,
    along,
    behind_middle,
    edge,
    spacing_of,
)

Array = NDArray[np.floating[Any]]

ERROR: Final = 0.2
"""Centimetres, the standard deviation of an annotated point about the model; 2 % of the distance between the eyes'
outer corners. An error counts linearly from 2.5 of these (Huber)."""
EXPRESSION: Final = 0.35
"""Standard deviation of an expression's coefficient, against 1 for identity."""
SLIDING: Final = 0.15
"""Share of its weight that a contour point has along the contour."""
STEPS: Final = 12
"""Gauss-Newton steps."""
INNER: Final = [point for point in range(WFLW98.points) if point not in JAW]


WEIGHTS: Final = np.where(np.isin(np.arange(WFLW98.points), ADDED), 0.5, 1.0)
"""[98] less for points that may have been lifted from 68, none for the pupils, whose gaze the model does not follow."""
WEIGHTS[list(WFLW98.groups["pupils"])] = 0


@dataclass(frozen=True, eq=False)
class Fit:
    """The model on one face."""

    pose: Pose
    coefficients: Array
    """[K]"""
    spacing: Spacing
    """of the annotated contour"""
    places: Places
    """of the 98 points on the model"""


def fit(model: FaceModel, points: Array) -> Fit:
    """Minimises the weighted squared errors of points [98, 2] in centimetres plus the coefficients' priors.

    Every Gauss-Newton step solves for pose, identity and expression together; coefficients of expressions are kept
    from becoming negative. A contour point is held to its line, and only weakly to its place on it.
    """
    pose = align(model.mean[model.points[INNER]], points[INNER])
    coefficients = np.zeros(len(model.components))
    used = np.unique(np.concatenate([model.points, model.middles, model.paths.ravel()]))
    problem = _Problem(model, used, points)
    for _ in range(STEPS):
        pose, coefficients = problem.step(pose, coefficients)
    spacing, places = problem.locate(pose, problem.shape(coefficients))
    return Fit(pose, coefficients, spacing, Places(used[places.vertices], places.weights))


class _Problem:
    """What stays the same from step to step; of the model the vertices `used` alone."""

    def __init__(self, model: FaceModel, used: NDArray[np.intp], points: Array) -> None:
        number = np.zeros(len(model.mean), np.int32)
        number[used] = np.arange(len(used))
        self._model = replace(
            model,
            mean=model.mean[used].astype(np.float64),
            components=model.components[:, used],
            points=number[model.points],
            paths=number[model.paths],
            middles=number[model.middles],
        )
        self._points = points
        spread = np.r_[np.ones(model.identities), np.full(len(model.components) - model.identities, EXPRESSION)]
        self._prior = spread**-2.0

    def shape(self, coefficients: Array) -> Array:
        """The vertices that matter here."""
        return self._model.shape(coefficients)

    def locate(self, pose: Pose, shape: Array) -> tuple[Spacing, Places]:
        """Where on the model the points lie in this pose."""
        turned = pose.turn(shape)
        places = edge(self._model, turned, pose.upright())
        line = places.of(turned)[:, :2]
        spacing = spacing_of(self._in_centimetres(pose)[JAW], line, pose.upright())
        return spacing, all_places(self._model, along(places, line, spacing))

    def _in_centimetres(self, pose: Pose) -> Array:
        centimetres: Array = (self._points - pose.shift) / [pose.scale, -pose.scale]
        return centimetres

    def step(self, pose: Pose, coefficients: Array) -> tuple[Pose, Array]:
        """One Gauss-Newton step."""
        model = self._model
        shape = self.shape(coefficients)
        _, places = self.locate(pose, shape)
        turned = pose.turn(shape)
        at = places.of(turned)
        residual = self._in_centimetres(pose) - at[:, :2]
        jacobian = self._jacobian(pose, at, places)
        frames, share = _frames(at[JAW, :2])
        residual, jacobian = np.einsum("pij,pj->pi", frames, residual), np.einsum("pij,pjk->pik", frames, jacobian)
        hidden = behind_middle(model, at, turned, pose.upright()) > 0
        huber = np.maximum(1, np.linalg.norm(residual * np.sqrt(share), axis=1) / (2.5 * ERROR))
        weight = (WEIGHTS * ~hidden / huber)[:, None] * share / ERROR**2
        tall = jacobian.reshape(2 * WFLW98.points, -1)
        heavy = tall * weight.reshape(-1, 1)
        prior = np.r_[np.full(6, 1e-9), self._prior]
        # the unknowns are the pose's change and the coefficients themselves
        right = heavy.T @ (residual.reshape(-1) + tall[:, 6:] @ coefficients)
        found = _solve(heavy.T @ tall + np.diag(prior), right, 6 + model.identities)
        return _moved(pose, found[:6]), found[6:]

    def _jacobian(self, pose: Pose, at: Array, places: Places) -> Array:
        """[98, 2, 6 + K] of the points in the camera's centimetres, by rotation, log scale, shift, coefficients."""
        moves = np.einsum("pk,cpkd->pcd", places.weights, self._model.components[:, places.vertices])
        columns = np.zeros((WFLW98.points, 2, 6 + len(self._prior)))
        columns[:, 0, 1], columns[:, 0, 2] = at[:, 2], -at[:, 1]
        columns[:, 1, 0], columns[:, 1, 2] = -at[:, 2], at[:, 0]
        columns[:, :, 3] = at[:, :2]
        columns[:, 0, 4] = columns[:, 1, 5] = 1
        columns[:, :, 6:] = np.einsum("id,pcd->pic", pose.rotation[:2], moves)
        return columns


def _frames(jaw: Array) -> tuple[Array, Array]:
    """[98, 2, 2] rotations into across and along the contour, and the weights [98, 2] of the two directions; the other
    points keep x and y, with equal weights.
    """
    frames, share = np.tile(np.eye(2), (WFLW98.points, 1, 1)), np.ones((WFLW98.points, 2))
    tangent = np.gradient(jaw, axis=0)
    x, y = (tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)).T
    frames[JAW] = np.stack([np.stack([-y, x], axis=1), np.stack([x, y], axis=1)], axis=1)
    share[JAW, 1] = SLIDING
    share[MIDDLE] = 0.5
    return frames, share


def _solve(matrix: Array, right: Array, free: int) -> Array:
    """Minimises x'Mx / 2 - x'r over x whose entries from `free` on are not negative."""
    factor = cho_factor(matrix[:free, :free], lower=True)
    across = matrix[:free, free:]
    reduced = matrix[free:, free:] - across.T @ cho_solve(factor, across)
    target = right[free:] - across.T @ cho_solve(factor, right[:free])
    root = np.linalg.cholesky(reduced)
    bounded, _ = nnls(root.T, solve_triangular(root, target, lower=True))
    return np.asarray(np.r_[cho_solve(factor, right[:free] - across @ bounded), bounded])


def _moved(pose: Pose, change: Array) -> Pose:
    """A pose after a small change: rotation vector, log of the scale, shift in centimetres."""
    grown = pose.scale * float(np.exp(change[3].clip(-0.5, 0.5)))
    shift = pose.shift + pose.scale * change[4:6] * [1, -1]
    return Pose(about(change[:3]) @ pose.rotation, grown, shift)
