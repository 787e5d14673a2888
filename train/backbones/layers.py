"""Layers that several backbones use."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB in [0, 1], by which published weights expect pixels normalised."""


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and (unless `act` is off) ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The normalisation."""
        layer = self[1]
        assert isinstance(layer, nn.BatchNorm2d)
        return layer


class ImageNetInput(nn.Module):
    """A network that normalises its crops as published weights expect."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, bgr: bool = False) -> None:
        """`bgr`: whether the weights expect blue first, normalised by the same numbers in the same order."""
        super().__init__()
        self.bgr = bgr
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def normalised(self, crops: Tensor) -> Tensor:
        """RGB uint8 [N, H, W, 3] -> float32 [N, 3, H, W], normalised."""
        x = crops.to(torch.float32).permute(0, 3, 1, 2)
        return ((x.flip(1) if self.bgr else x) - self.mean) / self.deviation
