"""Shape refinement: a last layer that sees all heatmaps of a face at once, and corrects each by the others.

A convolution locates a point by its surroundings. Where these show little (a jaw without an edge, an occluded eye) the
other points show more: a linear regression of the points' errors on all points of the face predicts a good part of
them. It has a closed form, and is fitted by it (ridge regression, `train.shape_refinement`) rather than trained:
gradient descent does not get there, since what predicts an error is small beside what all faces have in common.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

TILT_REACH: Final = 3.0
"""Standard deviations about its mean within which a map is tilted; beyond, it is shifted by the value at the end. A
plane over the entire map would raise a far corner above the peak."""
MIN_DEVIATION: Final = 0.005
"""Standard deviation, in halves of the crop's longer side, that is added to each map's: less than half a cell of 64."""
SPREAD_WEIGHT: Final = 0.2
"""Factor of the logarithms of spreads among the features, beside positions of about 1."""
POSES: Final = 2
"""Pose components: the directions in which shapes differ most, in units of their deviation. They are about the head's
yaw and pitch."""
POSE_WEIGHT: Final = 0.3
"""Factor of the products of features and pose components among the features."""
MAX_POSE: Final = 3.0
"""Deviations beyond which a pose component is clipped."""

VISIBILITY_UNITS: Final = 128
"""Width of the layer between features and visibility."""


class Moments(NamedTuple):
    """Means and covariances of each map's softmax, float [N, P] each. The crop's longer side reaches from -1 to 1, and
    the other one as far as it is shorter, so that faces keep their shape.
    """

    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor


class Refined(NamedTuple):
    """What a ShapeRefinement makes of the maps of a network."""

    logits: Tensor
    """float [N, P, H, W] the maps, tilted."""
    features: Tensor
    """float [N, 3 P (1 + POSES)] what the regression predicts errors from: see `ShapeRefinement.with_pose`."""


class ShapeRefinement(nn.Module):
    """Tilts every heatmap by the positions of all of them: logits float [N, P, H, W] -> Refined.

    A map's position and spread are the moments of its softmax. Adding a plane of slope g to logits whose softmax is a
    Gaussian of covariance C moves its mean by C g and leaves its shape as it is. So each map gets the slope C^-1 d for
    the displacement d that the regression predicts. The regression sees the face upright and of unit size, so that
    displacements rotate and scale with the face. How the points predict each other differs from pose to pose, so every
    feature counts by itself and multiplied by each pose component.

    A new layer changes nothing. The names of its parameters are those of checkpoints and of exported files.
    """

    shape: Tensor
    """float [2, P] the mean shape, centered at 0; arbitrary until it is fitted."""
    middle: Tensor
    """float [2 P] the mean of the position features."""
    directions: Tensor
    """float [2 P, POSES] the projection from position features to pose components."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.register_buffer("shape", torch.linspace(-1, 1, points).expand(2, -1).clone())
        self.register_buffer("middle", torch.zeros(2 * points))
        self.register_buffer("directions", torch.zeros(2 * points, POSES))
        self.regression = nn.Linear(3 * points * (1 + POSES), 2 * points)
        nn.init.zeros_(self.regression.weight)
        nn.init.zeros_(self.regression.bias)

    def forward(self, logits: Tensor) -> Refined:
        # faces and points share one axis here, so that OpenVINO keeps the maps in row-major order: otherwise it would
        # move the points last for the two sums at the end, and transpose all maps once more
        maps = logits.float().flatten(0, 1)
        found = moments(maps.view(logits.shape))
        features, to_upright = self.features(found)
        posed = self.with_pose(features)
        upright = self.regression(posed).unflatten(1, (2, -1))
        x, y = complex_div(upright[:, 0], upright[:, 1], to_upright)
        determinant = found.xx * found.yy - found.xy**2
        columns, rows = axes(logits)
        across = ramp((found.yy * x - found.xy * y) / determinant, found.x, found.xx, columns)
        down = ramp((found.xx * y - found.xy * x) / determinant, found.y, found.yy, rows)
        tilted = maps + across.flatten(0, 1).unsqueeze(1) + down.flatten(0, 1).unsqueeze(2)
        return Refined(tilted.view(logits.shape), posed)

    def features(self, found: Moments) -> tuple[Tensor, Tensor]:
        """Positions and spreads of the maps in the face's upright frame [N, 3 P], and the transformation to it.

        The frame is that in which the face is closest to the mean shape, by least squares. The transformation [N, 2, 1]
        is a complex number, whose argument is the rotation and whose absolute value is the scale. NaN where all maps
        have the same mean, which then is no face.
        """
        x, y = (each - each.mean(dim=1, keepdim=True) for each in (found.x, found.y))
        mean_x, mean_y = self.shape.unbind()
        size = (x**2 + y**2).sum(dim=1, keepdim=True)
        product = torch.stack([mean_x * x + mean_y * y, mean_y * x - mean_x * y], dim=1).sum(dim=2, keepdim=True)
        to_upright = product / size.unsqueeze(1)
        across, down = complex_mul(x, y, to_upright)
        log_scale = 0.5 * (to_upright**2).sum(dim=1).log()
        spread = 0.5 * (found.xx + found.yy).log() + log_scale
        return torch.cat([across, down, SPREAD_WEIGHT * spread], dim=1), to_upright

    def with_pose(self, features: Tensor) -> Tensor:
        """Features [N, 3 P] -> [N, 3 P (1 + POSES)]: the same, and their products with each pose component."""
        poses = (features[:, : self.middle.shape[0]] - self.middle) @ self.directions
        weights = POSE_WEIGHT * poses.clamp(-MAX_POSE, MAX_POSE)
        return torch.cat([features, *(weights[:, i : i + 1] * features for i in range(POSES))], dim=1)


def moments(logits: Tensor) -> Moments:
    """Means and covariances of the softmax of maps [N, P, H, W].

    Sums of exponentials are divided rather than all cells, which costs less. Squares are taken about the mean: a map is
    narrow, and the difference of two large squares would keep three digits in single precision, which amounts to cells.
    """
    maps = logits.float()
    weights = (maps - maps.amax(dim=(2, 3), keepdim=True)).exp()
    across, down = axes(logits)
    columns, sums = weights.sum(dim=2), weights @ torch.stack([torch.ones_like(across), across], dim=1)
    total = columns.sum(dim=2, keepdim=True)
    columns, rows, firsts = columns / total, sums[..., 0] / total, sums[..., 1] / total
    x, y = (columns * across).sum(dim=2, keepdim=True), (rows * down).sum(dim=2, keepdim=True)
    xx = (columns * (across - x) ** 2).sum(dim=2) + MIN_DEVIATION**2
    yy = (rows * (down - y) ** 2).sum(dim=2) + MIN_DEVIATION**2
    xy = ((firsts - x * rows) * (down - y)).sum(dim=2)
    return Moments(x.squeeze(2), y.squeeze(2), xx, xy, yy)


def ramp(slope: Tensor, mean: Tensor, variance: Tensor, cells: Tensor) -> Tensor:
    """[N, P, C] at the cells [C] of one axis: zero at the mean, of that slope about it, constant beyond TILT_REACH
    deviations.
    """
    reach = TILT_REACH * variance.sqrt().unsqueeze(2)
    offset = cells - mean.unsqueeze(2)
    return slope.unsqueeze(2) * torch.minimum(torch.maximum(offset, -reach), reach)


def axes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [W] and [H] the coordinates of the centers of the columns and of the rows of maps [N, P, H, W], on their
    device: see Moments.
    """
    rows, columns = (int(cells) for cells in maps.shape[2:])
    longest = max(rows, columns)
    across, down = (
        (2 * torch.arange(cells, device=maps.device, dtype=torch.float32) + 1) / longest - cells / longest
        for cells in (columns, rows)
    )
    return across, down


def complex_mul(x: Tensor, y: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Positions x + iy [N, P] times complex numbers [N, 2, 1]: rotated and scaled."""
    return x * factor[:, 0] - y * factor[:, 1], y * factor[:, 0] + x * factor[:, 1]


def complex_div(x: Tensor, y: Tensor, divisor: Tensor) -> tuple[Tensor, Tensor]:
    """Positions x + iy [N, P] divided by complex numbers [N, 2, 1]: the inverse of `complex_mul`."""
    size = (divisor**2).sum(dim=1)
    return (x * divisor[:, 0] + y * divisor[:, 1]) / size, (y * divisor[:, 0] - x * divisor[:, 1]) / size


class Visibility(nn.Module):
    """The probability that each point is seen: `Refined.features` -> float [N, P], from 0 to 1.

    Two layers on the upright positions of the points and the spreads of their maps: a head that is turned hides the
    same points at every such pose, and what lies before a face widens the maps of the points below it. They are fitted
    by `train.visibility`.
    """

    def __init__(self, points: int) -> None:
        super().__init__()
        self.inputs = 3 * points
        self.hidden = nn.Linear(self.inputs, VISIBILITY_UNITS)
        self.regression = nn.Linear(VISIBILITY_UNITS, points)
        nn.init.zeros_(self.regression.weight)
        nn.init.zeros_(self.regression.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(features).sigmoid()

    def logits(self, features: Tensor) -> Tensor:
        """The logits, float [N, P]. Of the features, the products with pose components are not used."""
        logits: Tensor = self.regression(self.hidden(features[:, : self.inputs]).relu())
        return logits


class RefinedNetwork(nn.Module):
    """A network followed by its ShapeRefinement: RGB crops uint8 [N, H, W, 3] -> logits float [N, P, H/4, W/4].

    With a Visibility layer as well: -> the logits, and the probabilities float [N, P] that the points are seen.
    """

    def __init__(self, network: nn.Module, points: int, visibility: bool = False) -> None:
        super().__init__()
        self.network = network
        # "tilt", because that is its name in the checkpoints and the exported files that exist
        self.tilt = ShapeRefinement(points)
        self.visibility = Visibility(points) if visibility else None

    def forward(self, crops: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        refined: Refined = self.tilt(self.network(crops))
        return refined.logits if self.visibility is None else (refined.logits, self.visibility(refined.features))
