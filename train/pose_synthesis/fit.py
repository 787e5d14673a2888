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
from train.pose_synthesis.pose import Pose, align, rotation_from_vector
from train.pose_synthesis.silhouette import (
    CHIN_POINT,
    JAW,
    Spacing,
    SurfacePoints,
    all_points,
    behind_midline,
    measure_spacing,
    silhouette,
    spaced_points,
)

Array = NDArray[np.floating[Any]]

ERROR: Final = 0.2
"""Standard deviation in centimeters of an annotated point about the model; 2 % of the distance between the outer eye
corners. From 2.5 of these on an error counts linearly (Huber)."""
EXPRESSION: Final = 0.35
"""Standard deviation of an expression's coefficient, against 1 for identity."""
TANGENTIAL: Final = 0.15
"""Share of its weight that an error along the contour has."""
STEPS: Final = 12
"""Gauss-Newton steps."""
INNER: Final = [point for point in range(WFLW98.points) if point not in JAW]

WEIGHTS: Final = np.where(np.isin(np.arange(WFLW98.points), ADDED), 0.5, 1.0)
"""[98] less for points that a point conversion may have added, none for the pupils: the model has no gaze."""
WEIGHTS[list(WFLW98.groups["pupils"])] = 0


@dataclass(frozen=True, eq=False)
class ModelFit:
    """The model fitted to one face."""

    pose: Pose
    coefficients: Array
    """[K]"""
    spacing: Spacing
    """Of the annotated contour."""
    surface_points: SurfacePoints
    """The 98 points on the model."""


def fit_model(model: FaceModel, points: Array) -> ModelFit:
    """Minimises the weighted squared errors of points [98, 2] in centimeters plus the coefficients' priors.

    Every Gauss-Newton step solves for pose, identity and expression together; coefficients of expressions are
    constrained not to be negative. Contour points count fully across the contour, and little along it.
    """
    pose = align(model.mean[model.points[INNER]], points[INNER])
    coefficients = np.zeros(len(model.components))
    used = np.unique(np.concatenate([model.points, model.midline, model.paths.ravel()]))
    problem = _Problem(model, used, points)
    for _ in range(STEPS):
        pose, coefficients = problem.step(pose, coefficients)
    spacing, surface = problem.locate(pose, problem.shape(coefficients))
    return ModelFit(pose, coefficients, spacing, SurfacePoints(used[surface.vertices], surface.weights))


class _Problem:
    """What all steps have in common; only the vertices `used` of the model."""

    def __init__(self, model: FaceModel, used: NDArray[np.intp], points: Array) -> None:
        index = np.zeros(len(model.mean), np.int32)
        index[used] = np.arange(len(used))
        self._model = replace(
            model,
            mean=model.mean[used].astype(np.float64),
            components=model.components[:, used],
            points=index[model.points],
            paths=index[model.paths],
            midline=index[model.midline],
        )
        self._points = points
        deviation = np.r_[np.ones(model.identities), np.full(len(model.components) - model.identities, EXPRESSION)]
        self._prior = deviation**-2.0

    def shape(self, coefficients: Array) -> Array:
        """The used vertices."""
        return self._model.shape(coefficients)

    def locate(self, pose: Pose, shape: Array) -> tuple[Spacing, SurfacePoints]:
        """The annotated contour's spacing, and the points on the model in this pose."""
        camera = pose.rotate(shape)
        outline = silhouette(self._model, camera, pose.upright_axes())
        line = outline.interpolate(camera)[:, :2]
        spacing = measure_spacing(self._in_centimeters(pose)[JAW], line, pose.upright_axes())
        return spacing, all_points(self._model, spaced_points(outline, line, spacing))

    def _in_centimeters(self, pose: Pose) -> Array:
        centimeters: Array = (self._points - pose.shift) / [pose.scale, -pose.scale]
        return centimeters

    def step(self, pose: Pose, coefficients: Array) -> tuple[Pose, Array]:
        """One Gauss-Newton step."""
        model = self._model
        shape = self.shape(coefficients)
        _, surface = self.locate(pose, shape)
        camera = pose.rotate(shape)
        on_model = surface.interpolate(camera)
        residual = self._in_centimeters(pose) - on_model[:, :2]
        jacobian = self._jacobian(pose, on_model, surface)
        frames, share = _frames(on_model[JAW, :2])
        residual, jacobian = np.einsum("pij,pj->pi", frames, residual), np.einsum("pij,pjk->pik", frames, jacobian)
        hidden = behind_midline(model, on_model, camera, pose.upright_axes()) > 0
        huber = np.maximum(1, np.linalg.norm(residual * np.sqrt(share), axis=1) / (2.5 * ERROR))
        weight = (WEIGHTS * ~hidden / huber)[:, None] * share / ERROR**2
        rows = jacobian.reshape(2 * WFLW98.points, -1)
        weighted = rows * weight.reshape(-1, 1)
        prior = np.r_[np.full(6, 1e-9), self._prior]
        # the unknowns are the pose's change and the coefficients themselves
        right = weighted.T @ (residual.reshape(-1) + rows[:, 6:] @ coefficients)
        solution = _solve(weighted.T @ rows + np.diag(prior), right, 6 + model.identities)
        return _changed(pose, solution[:6]), solution[6:]

    def _jacobian(self, pose: Pose, on_model: Array, surface: SurfacePoints) -> Array:
        """[98, 2, 6 + K] of the points in camera centimeters, by rotation, log scale, shift and coefficients."""
        moves = np.einsum("pk,cpkd->pcd", surface.weights, self._model.components[:, surface.vertices])
        columns = np.zeros((WFLW98.points, 2, 6 + len(self._prior)))
        columns[:, 0, 1], columns[:, 0, 2] = on_model[:, 2], -on_model[:, 1]
        columns[:, 1, 0], columns[:, 1, 2] = -on_model[:, 2], on_model[:, 0]
        columns[:, :, 3] = on_model[:, :2]
        columns[:, 0, 4] = columns[:, 1, 5] = 1
        columns[:, :, 6:] = np.einsum("id,pcd->pic", pose.rotation[:2], moves)
        return columns


def _frames(jaw: Array) -> tuple[Array, Array]:
    """Rotations [98, 2, 2] to across and along the contour, and weights [98, 2] of the two directions. The other points
    keep x and y, with equal weights.
    """
    frames, share = np.tile(np.eye(2), (WFLW98.points, 1, 1)), np.ones((WFLW98.points, 2))
    tangent = np.gradient(jaw, axis=0)
    x, y = (tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)).T
    frames[JAW] = np.stack([np.stack([-y, x], axis=1), np.stack([x, y], axis=1)], axis=1)
    share[JAW, 1] = TANGENTIAL
    share[CHIN_POINT] = 0.5
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


def _changed(pose: Pose, change: Array) -> Pose:
    """A pose after a small change [6]: rotation vector, log of the scale, shift in centimeters."""
    scale = pose.scale * float(np.exp(change[3].clip(-0.5, 0.5)))
    shift = pose.shift + pose.scale * change[4:6] * [1, -1]
    return Pose(rotation_from_vector(change[:3]) @ pose.rotation, scale, shift)
