"""HRNet-V2: parallel branches at strides 4, 8, 16 and 32 that exchange their features.

Attributes are named so that every parameter has the name and shape of the published weights.

Source: Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019; Wang et al.,
"Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020.
"""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.backbones.layers import ConvNorm
from train.backbones.released import ReleasedNetwork

BLOCKS = 4
"""Residual blocks in a row, in every branch and in layer1."""


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded so that only its stride changes the size."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


class Bottleneck(nn.Module):
    """1x1 down to 64 channels, 3x3, 1x1 up to 256, added to the input (projected where its width differs)."""

    MIDDLE, OUTPUTS = 64, 256

    def __init__(self, inputs: int) -> None:
        super().__init__()
        middle, outputs = self.MIDDLE, self.OUTPUTS
        self.conv1, self.bn1 = conv(inputs, middle, 1), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = conv(middle, middle), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = conv(middle, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity() if inputs == outputs else ConvNorm(inputs, outputs, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class Exchange(nn.Module):
    """One module of a stage: four blocks on every branch, then each branch becomes a sum over all branches."""

    def __init__(self, widths: list[int], outputs: int | None = None) -> None:
        """`outputs`: so many branches, the finest, go on; None: all."""
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_path(widths, source, target) for source in range(len(widths)))
            for target in range(outputs or len(widths))
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        return [F.relu(_sum(paths, xs)) for paths in self.fuse_layers]


def _sum(paths: nn.Module, xs: list[Tensor]) -> Tensor:
    assert isinstance(paths, nn.ModuleList)
    parts: list[Tensor] = [path(x) for path, x in zip(paths, xs, strict=True)]
    return reduce(torch.Tensor.add, parts)


def _path(widths: list[int], source: int, target: int) -> nn.Module:
    """From one branch to another: up by a 1x1 convolution and nearest neighbors, down by 3x3 of stride 2."""
    inputs, outputs = widths[source], widths[target]
    if source == target:
        return nn.Identity()
    if source > target:
        scale = float(2 ** (source - target))
        return nn.Sequential(*ConvNorm(inputs, outputs, 1, act=False), nn.Upsample(scale_factor=scale, mode="nearest"))
    halvings = [ConvNorm(inputs, inputs, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, ConvNorm(inputs, outputs, stride=2, act=False))


def _transition(before: list[int], after: list[int]) -> nn.ModuleList:
    """The input of each branch of the next stage: the branch of the same stride, or the coarsest one halved."""
    layers: list[nn.Module] = [
        nn.Identity() if old == new else ConvNorm(old, new) for old, new in zip(before, after, strict=False)
    ]
    layers += [nn.Sequential(ConvNorm(before[-1], new, stride=2)) for new in after[len(before) :]]
    return nn.ModuleList(layers)


def _apply_transition(transition: nn.ModuleList, xs: list[Tensor]) -> list[Tensor]:
    """Applies a transition; a branch that is new starts from the coarsest one."""
    return [layer(xs[min(i, len(xs) - 1)]) for i, layer in enumerate(transition)]


class HRNetBranches(nn.Module):
    """The branches of an HRNet, for a network that adds them to itself: their parameters have no prefix."""

    def add_branches(self, width: int, outputs: int | None = None) -> list[int]:
        """Adds the layers; returns the channels of each branch. `outputs`: as for the last Exchange."""
        widths = [width << i for i in range(4)]
        self.conv1, self.bn1 = conv(3, 64, stride=2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = conv(64, 64, stride=2), nn.BatchNorm2d(64)
        wide = Bottleneck.OUTPUTS
        self.layer1 = nn.Sequential(Bottleneck(64), *(Bottleneck(wide) for _ in range(BLOCKS - 1)))
        self.transition1 = _transition([wide], widths[:2])
        self.stage2 = nn.Sequential(Exchange(widths[:2]))
        self.transition2 = _transition(widths[:2], widths[:3])
        self.stage3 = nn.Sequential(*(Exchange(widths[:3]) for _ in range(4)))
        self.transition3 = _transition(widths[:3], widths)
        self.stage4 = nn.Sequential(*(Exchange(widths, outputs if i == 2 else None) for i in range(3)))
        return widths

    def branches(self, x: Tensor) -> list[Tensor]:
        """Normalised crops float32 [N, 3, H, W] -> the features of the branches, the first float [N, C, H/4, W/4]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        xs = self.stage2(_apply_transition(self.transition1, [self.layer1(x)]))
        xs = self.stage3(_apply_transition(self.transition2, xs))
        xs = self.stage4(_apply_transition(self.transition3, xs))
        return list(xs)


class HRNet(HRNetBranches, ReleasedNetwork):
    """RGB crops uint8 [N, H, W, 3] -> logits float [N, P, H/4, W/4]: see ReleasedNetwork."""

    CLASSIFIER: ClassVar = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")

    def __init__(self, points: int = 98, width: int = 18) -> None:
        super().__init__(points)
        widths = self.add_branches(width)
        self.head = self.new_head(sum(widths))
        self.initialise()

    def extract(self, crops: Tensor) -> Tensor:
        """All branches, resized to stride 4: float [N, 15 * width, H/4, W/4]."""
        first, *others = self.branches(self.normalised(crops))
        scaled = (
            F.interpolate(x, scale_factor=float(2**i), mode="bilinear", align_corners=False)
            for i, x in enumerate(others, start=1)
        )
        return torch.cat([first, *scaled], dim=1)
