"""What the points of a face know of each other: a last layer that sees all heatmaps at once.

A convolution places a point by what is about it. Where that says little (a jaw without an edge, a covered eye) the
other points say more. A linear regression of the points' errors on all points of the face finds much of it. It is
solved rather than trained (`train.shape_refinement`): steps down a gradient do not get there, as what tells of an error
is small beside what all faces have in common.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

REACH = 3.0
"""Standard deviations about its mean over which a map is tilted; beyond, it is raised or lowered as at the end. A plane
over all of a map lifts a far corner above the peak."""
FINEST = 0.005
"""Standard deviation, in half-widths of the crop, that is added to each map's: less than half a cell of 64."""
SPREADS = 0.2
"""What the logarithms of spreads weigh among the features, beside positions of about 1."""
POSES = 2
"""Directions in which shapes differ most, in units of their deviation: the head's turn to a side, and up or down."""
TURNED = 0.3
"""What products of features and poses weigh among the features."""
FARTHEST = 3.0
"""Deviations of a pose beyond which the regression changes no further."""


class Moments(NamedTuple):
    """Of each map's softmax, the crop reaching from -1 to 1; each [N, P]."""

    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor


class ShapeTilt(nn.Module):
    """Tilts every heatmap by where all of them are: logits [N, P, H, W] -> the same. A fresh one changes nothing.

    A map's place and spread are the moments of its softmax. Adding a plane of slope g to logits whose softmax is a
    Gaussian of covariance C moves its mean by C g, and leaves its shape alone. So each map is tilted by C^-1 times the
    move that the regression asks for, which sees the face upright and of unit size: all moves turn and grow with it.
    What the points tell of each other differs from pose to pose: so each feature counts by itself, and times each pose.
    """

    def __init__(self, points: int) -> None:
        super().__init__()
        self.register_buffer("shape", torch.linspace(-1, 1, points).expand(2, -1).clone())
        self.register_buffer("middle", torch.zeros(2 * points))
        self.register_buffer("directions", torch.zeros(2 * points, POSES))
        self.regression = nn.Linear(3 * points * (1 + POSES), 2 * points)
        nn.init.zeros_(self.regression.weight)
        nn.init.zeros_(self.regression.bias)

    shape: Tensor
    """[2, P] the mean shape, its middle at 0; until it is fitted, any."""
    middle: Tensor
    """[2 P] the mean of the features that are places."""
    directions: Tensor
    """[2 P, POSES] what makes poses of these."""

    def forward(self, logits: Tensor) -> Tensor:
        # with one axis for faces and points OpenVINO has the maps row by row from here on: it would have them with the
        # points last for the two sums at the end, and turn all of them once more
        maps = logits.float().flatten(0, 1)
        found = moments(maps.view(logits.shape))
        features, turn = self.features(found)
        upright = self.regression(self.by_pose(features)).unflatten(1, (2, -1))
        x, y = divided(upright[:, 0], upright[:, 1], turn)
        determinant = found.xx * found.yy - found.xy**2
        across = ramp((found.yy * x - found.xy * y) / determinant, found.x, found.xx, logits.shape[3])
        down = ramp((found.xx * y - found.xy * x) / determinant, found.y, found.yy, logits.shape[2])
        return (maps + across.flatten(0, 1).unsqueeze(1) + down.flatten(0, 1).unsqueeze(2)).view(logits.shape)

    def features(self, found: Moments) -> tuple[Tensor, Tensor]:
        """[N, 3 P] places and spreads of the maps in the face's own frame, and [N, 2, 1] what turned them into it.

        The frame is that in which the face comes nearest to the mean shape, by least squares.
        """
        x, y = (each - each.mean(dim=1, keepdim=True) for each in (found.x, found.y))
        mean_x, mean_y = self.shape.unbind()
        size = (x**2 + y**2).sum(dim=1, keepdim=True)
        turn = torch.stack([mean_x * x + mean_y * y, mean_y * x - mean_x * y], dim=1).sum(dim=2, keepdim=True)
        turn = turn / size.unsqueeze(1)
        across, down = times(x, y, turn)
        scale = 0.5 * (turn**2).sum(dim=1).log()
        spread = 0.5 * (found.xx + found.yy).log() + scale
        return torch.cat([across, down, SPREADS * spread], dim=1), turn

    def by_pose(self, features: Tensor) -> Tensor:
        """[N, 3 P] features -> [N, 3 P (1 + POSES)]: the same, and their products with each pose."""
        poses = (features[:, : self.middle.shape[0]] - self.middle) @ self.directions
        weights = TURNED * poses.clamp(-FARTHEST, FARTHEST)
        return torch.cat([features, *(weights[:, i : i + 1] * features for i in range(POSES))], dim=1)


def moments(logits: Tensor) -> Moments:
    """Means and covariances of the maps [N, P, H, W].

    Of what their softmax divides, not of the softmax: dividing sums costs less than dividing all cells. Squares are
    taken about the mean: a map is narrow, and of a difference of large squares single precision would leave three
    digits, which the layer makes cells of.
    """
    maps = logits.float()
    weights = (maps - maps.amax(dim=(2, 3), keepdim=True)).exp()
    across, down = axis(logits.shape[3], logits), axis(logits.shape[2], logits)
    columns, sums = weights.sum(dim=2), weights @ torch.stack([torch.ones_like(across), across], dim=1)
    total = columns.sum(dim=2, keepdim=True)
    columns, rows, firsts = columns / total, sums[..., 0] / total, sums[..., 1] / total
    x, y = (columns * across).sum(dim=2, keepdim=True), (rows * down).sum(dim=2, keepdim=True)
    xx = (columns * (across - x) ** 2).sum(dim=2) + FINEST**2
    yy = (rows * (down - y) ** 2).sum(dim=2) + FINEST**2
    xy = ((firsts - x * rows) * (down - y)).sum(dim=2)
    return Moments(x.squeeze(2), y.squeeze(2), xx, xy, yy)


def ramp(slope: Tensor, middle: Tensor, variance: Tensor, cells: int) -> Tensor:
    """[N, P, cells] along one axis: zero at the middle, of that slope about it, level beyond the reach."""
    reach = REACH * variance.sqrt().unsqueeze(2)
    away = axis(cells, slope) - middle.unsqueeze(2)
    return slope.unsqueeze(2) * torch.minimum(torch.maximum(away, -reach), reach)


def axis(cells: int, like: Tensor) -> Tensor:
    """[cells] where their centres lie, the crop reaching from -1 to 1."""
    return (2 * torch.arange(cells, device=like.device, dtype=torch.float32) + 1) / cells - 1


def times(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Places [N, P] turned and scaled as complex numbers are, by [N, 2, 1]."""
    return x * turn[:, 0] - y * turn[:, 1], y * turn[:, 0] + x * turn[:, 1]


def divided(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """The opposite of `times`."""
    size = (turn**2).sum(dim=1)
    return (x * turn[:, 0] + y * turn[:, 1]) / size, (y * turn[:, 0] - x * turn[:, 1]) / size


class Shaped(nn.Module):
    """A network with a ShapeTilt behind it: RGB crops uint8 [N, S, S, 3] -> logits float [N, points, S/4, S/4]."""

    def __init__(self, network: nn.Module, points: int) -> None:
        super().__init__()
        self.network = network
        self.tilt = ShapeTilt(points)

    def forward(self, crops: Tensor) -> Tensor:
        logits: Tensor = self.tilt(self.network(crops))
        return logits
