"""Layers that several backbones use."""

from __future__ import annotations

from torch import nn


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
