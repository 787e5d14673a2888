"""The detector's network: a small residual feature pyramid with a head at strides 8, 16 and 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.backbones.compact import Residual
from train.backbones.layers import ConvNorm

STEM = 32
"""Channels at stride 4, before the stages."""
STAGES = ((32, 2), (64, 3), (96, 2))
"""Channels and residual blocks of each stage."""
NECK = 32
"""Channels of the top-down path."""
CHANNELS = 3
"""Of a map: the logit of a center, a width and a height."""

INITIAL_LOGIT = -6.0
"""Bias of the logits of an untrained network: faces are rare, and the first steps need not learn that."""


class CenterDetector(nn.Module):
    """RGB images uint8 [N, H, W, 3] -> a map per stride, float [N, 3, H/8, W/8], [.. /16] and [.. /32].

    H and W are multiples of 32. Dense 3x3 convolutions on few channels, as in `Compact`, in multiples of 16, which fill
    a CPU's registers. Only the stem works at a finer stride than 8, because a convolution there costs more than all of
    stride 32. It sees squares of 2 x 2 pixels as 12 channels: a CPU reaches a fifth of its speed with three.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(4 * 3, STEM, stride=2)
        self.stages = nn.ModuleList()
        previous = STEM
        for width, depth in STAGES:
            residuals = (Residual(width, width // 2) for _ in range(depth))
            self.stages.append(nn.Sequential(ConvNorm(previous, width, stride=2), *residuals))
            previous = width
        self.lateral = nn.ModuleList(ConvNorm(width, NECK, kernel=1, act=False) for width, _ in STAGES)
        self.merge = nn.ModuleList(ConvNorm(NECK, NECK) for _ in STAGES)
        self.head = nn.ModuleList(nn.Conv2d(NECK, CHANNELS, 1) for _ in STAGES)
        for layer in self.head:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0.0)
            nn.init.constant_(layer.bias[:1], INITIAL_LOGIT)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        n, height, width, _ = images.shape
        # permuted as bytes, which are a quarter of the floats
        squares = images.reshape(n, height // 2, 2, width // 2, 6).permute(0, 2, 4, 1, 3)
        squares = squares.reshape(n, 12, height // 2, width // 2)
        x: Tensor = self.stem((squares.to(torch.float32) - 127.5) / 64.0)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        maps: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(features))):
            x = self.lateral[i](features[i])
            if above is not None:
                x = x + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = self.merge[i](F.relu(x))
            maps.append(self.head[i](above))
        return tuple(reversed(maps))
