"""What a network is trained towards: the heatmap that encodes a point, and the loss against it.

Three objectives are compared: one active cell with a softmax over all cells (`cells`: the paper's binary heatmap,
eq. 5), one active cell with a sigmoid per cell (`cell_sigmoid`), and a Gaussian (`gaussian`). Each rounds the point by
a `landmarks.codec.Quantizer` (eq. 10 and 15) or, the Gaussian alone, not at all. `landmarks.decoders` decodes the maps.

Equations are those of Yu and Tao, "Heatmap Regression via Randomized Rounding" (arXiv:2009.00225). Eq. 7 does not say
what the softmax of its cross-entropy is taken over: see docs/decisions/0045.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from landmarks.codec import CodecError, CodecSpec, Quantizer, encode
from train.config import Config

Points = NDArray[np.float64]
"""[..., 2] crop pixels, x and y"""
Maps = NDArray[np.float32]

MIN_WEIGHT: Final = 1e-6
"""By which the loss of points without any weight is divided."""
OUTSIDE: Final = -100
"""Target of a point that lies outside the map or is not annotated: it takes no part in the loss."""


# ---------------------------------------------------------------- objectives


class Objective(Protocol):
    """How points become targets, what the loss of logits against targets is, and what the logits then mean."""

    @property
    def quantizer(self) -> Quantizer | None:
        """How points are rounded to cells; None: not at all."""
        ...

    def targets(self, points: Points, spec: CodecSpec, rng: np.random.Generator) -> NDArray[Any]:
        """Crop pixels float64 [P, 2] -> one target per point [P, ...], drawn anew at every call."""
        ...

    def inside(self, targets: Tensor) -> Tensor:
        """Which points of N samples' stacked targets take part in the loss: bool [N, P]."""
        ...

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Scalar loss of maps float [N, P, rows, columns] against N samples' stacked targets [N, P, ...].

        `weights` float [N, P]: how much each point counts; None: all alike.
        """
        ...

    def log_activation(self, maps: Maps) -> Maps:
        """The network's maps, float32 of any shape, as logarithms of the activations by which decoders weight cells."""
        ...


class CellObjective:
    """The paper's binary heatmap (eq. 5): one active cell per map, trained by cross-entropy with a softmax over all
    cells of the map (eq. 7). With the quantizer "random" it is rounded at random (eq. 14 and 15). The one objective
    whose networks are exported and served.

    Targets int64 [P]: the flat cell, row * columns + column, or OUTSIDE.
    """

    def __init__(self, quantizer: Quantizer = "random") -> None:
        self.quantizer: Quantizer = quantizer

    def targets(self, points: Points, spec: CodecSpec, rng: np.random.Generator) -> NDArray[np.int64]:
        """Flat cells; see the class."""
        return flat_cells(points, spec, rng, self.quantizer)

    def inside(self, targets: Tensor) -> Tensor:
        """Those that lie on their map."""
        return targets != OUTSIDE

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean over the points that lie on their map."""
        return heatmap_loss(logits, targets, weights)

    def log_activation(self, maps: Maps) -> Maps:
        """Logits are log-probabilities up to a constant per map."""
        return maps


class CellSigmoidObjective(CellObjective):
    """One active cell per map as well (eq. 5), but every cell is a yes or no of its own: a sigmoid per cell instead of
    the softmax over the cells. Targets as in CellObjective.
    """

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy summed over the cells, so that the one active cell counts, then averaged over the points."""
        inside = self.inside(targets)
        maps = logits.float().flatten(2)[inside]
        active = F.one_hot(targets[inside], maps.shape[-1]).to(maps.dtype)
        by_point = F.binary_cross_entropy_with_logits(maps, active, reduction="none").sum(dim=1)
        return mean_over_points(by_point, None if weights is None else weights[inside])

    def log_activation(self, maps: Maps) -> Maps:
        """The logarithm of the sigmoid."""
        return np.asarray(-np.logaddexp(0.0, -maps), np.float32)


class GaussianObjective:
    """A Gaussian of height 1 (eq. 3 and 4) about the rounded point or, without a quantizer, about the point itself;
    trained by squared error (eq. 6). A sigma of 0 is its limit, one active cell (eq. 5).

    Targets float32 [P, 2]: its center (column, row) in cells, NaN for a point outside the map.
    """

    def __init__(self, sigma: float, quantizer: Quantizer | None = "random") -> None:
        """`sigma`: standard deviation in cells. Raises CodecError where it is negative, or 0 without a quantizer."""
        if not sigma >= 0:
            raise CodecError(f"sigma must not be negative, in cells, but is {sigma}")
        if not sigma and quantizer is None:
            raise CodecError("a sigma of 0 marks one cell: it needs a quantizer")
        self.sigma = sigma
        self.quantizer: Quantizer | None = quantizer

    def targets(self, points: Points, spec: CodecSpec, rng: np.random.Generator) -> NDArray[np.float32]:
        """Centers; see the class."""
        cells, inside = encode(points, spec, rng, self.quantizer or "floor")
        centers = spec.to_cells(np.asarray(points, np.float64)) if self.quantizer is None else cells
        return np.where(inside[..., None], centers, np.nan).astype(np.float32)

    def inside(self, targets: Tensor) -> Tensor:
        """Those that lie on their map."""
        return ~torch.isnan(targets).any(dim=-1)

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean squared error over the cells of the points that lie on their map."""
        inside = self.inside(targets)
        maps = logits.float().flatten(2)[inside]
        expected = gaussian_maps(targets[inside], self.sigma, *logits.shape[-2:]).flatten(1)
        by_point = F.mse_loss(maps, expected, reduction="none").mean(dim=1)
        return mean_over_points(by_point, None if weights is None else weights[inside])

    def log_activation(self, maps: Maps) -> Maps:
        """The logarithm of what is above zero; the rest counts as a millionth."""
        return np.asarray(np.log(np.maximum(maps, 1e-6)), np.float32)


ObjectiveName = Literal["cells", "cell_sigmoid", "gaussian"]


def objective(name: ObjectiveName, quantizer: Quantizer | None = "random", sigma: float = 1.0) -> Objective:
    """By name; `sigma`, in cells, is the Gaussian's. Raises CodecError where a quantizer is needed and missing."""
    if name == "gaussian":
        return GaussianObjective(sigma, quantizer)
    if quantizer is None:
        raise CodecError(f"the objective {name!r} marks one cell: it needs a quantizer")
    return CellSigmoidObjective(quantizer) if name == "cell_sigmoid" else CellObjective(quantizer)


def objective_of(config: Config) -> Objective:
    """The objective that a configuration names. Raises CodecError as `objective` does."""
    quantizer = None if config.quantizer == "none" else config.quantizer
    return objective(config.objective, quantizer, config.sigma)


def heatmap_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy with a softmax over the cells of every map (eq. 7), averaged over the points that lie on their map.

    logits float [N, P, rows, columns], targets int64 [N, P] flat cells or OUTSIDE, weights float [N, P] of the points
    (None: 1 each). Without any point on its map: 0.
    """
    maps, cells = logits.float().flatten(2).flatten(0, 1), targets.flatten()
    by_point = F.cross_entropy(maps, cells, ignore_index=OUTSIDE, reduction="none")
    inside = (cells != OUTSIDE).to(by_point.dtype)
    return mean_over_points(by_point, inside if weights is None else inside * weights.flatten())


def mean_over_points(losses: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean of losses [n] by weights [n], of which None means 1 each. Without any weight: 0, as a NaN would stop the
    training.
    """
    weights = torch.ones_like(losses) if weights is None else weights
    return (losses * weights).sum() / weights.sum().clamp(min=MIN_WEIGHT)


def flat_cells(
    points: Points, spec: CodecSpec, rng: np.random.Generator | None = None, quantizer: Quantizer = "random"
) -> NDArray[np.int64]:
    """Crop pixels [..., 2] -> row * columns + column [...]; OUTSIDE beyond the map and for NaN.

    The quantizer "random" (eq. 15) draws anew at every call.
    """
    cells, inside = encode(points, spec, rng, quantizer)
    return np.where(inside, cells[..., 1] * spec.columns + cells[..., 0], OUTSIDE)


def gaussian_maps(centers: Tensor, sigma: float, rows: int, columns: int) -> Tensor:
    """Centers float [..., 2] (column, row), in cells -> maps [..., rows, columns] of height 1 (eq. 3 and 4).

    With a sigma of 0, 1 at the center, which is a whole cell, and 0 elsewhere (eq. 5).
    """
    x, y = (
        torch.exp(-squares / (2 * sigma**2)) if sigma else (squares == 0).to(centers.dtype)
        for squares in (
            (torch.arange(cells, device=centers.device) - centers[..., i, None]) ** 2
            for i, cells in enumerate((columns, rows))
        )
    )
    return y[..., :, None] * x[..., None, :]


# ---------------------------------------------------------------- the bias of a quantizer

THRESHOLDS: Final[dict[Quantizer, float]] = {"floor": 1.0, "round": 0.5, "ceil": 0.0}
"""The fraction t from which a quantizer rounds up (eq. 10)."""


def correction(quantizer: Quantizer | None) -> float:
    """Cells that a decoder adds to x and y to correct the bias of a quantizer of threshold t: t - 0.5 (eq. 13).

    floor +0.5, round 0, ceil -0.5. 0 for randomized rounding, which is unbiased (theorem 2), and where nothing is
    rounded.
    """
    return THRESHOLDS[quantizer] - 0.5 if quantizer in THRESHOLDS else 0.0
