"""What the networks have in common that were released with the code of Yu and Tao, "Heatmap Regression via Randomized
Rounding": their input, and a head of two maps per point.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from train.backbones.layers import ConvNorm, ImageNetInput


class ReleasedNetwork(ImageNetInput):
    """RGB crops uint8 [N, H, W, 3] -> logits float [N, P, H/4, W/4], for any H and W divisible by 32.

    The head has two channels per point: P background maps, then P foreground maps, as published weights do. Only the
    foreground is trained, decoded and served. A network is a subclass that makes its layers, then `head` by `new_head`,
    and has `extract`.
    """

    CLASSIFIER: ClassVar[tuple[str, ...]]
    """Prefixes of the parameters of a published classifier of ImageNet that the landmark network does not have."""

    head: nn.Sequential

    def __init__(self, points: int) -> None:
        super().__init__()
        self.points = points

    def new_head(self, channels: int) -> nn.Sequential:
        """A projection that keeps the number of channels, then two maps per point; no biases."""
        return nn.Sequential(*ConvNorm(channels, channels, 1), nn.Conv2d(channels, 2 * self.points, 1, bias=False))

    def initialise(self) -> None:
        """Random weights for every convolution, with nearly uniform maps at the start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self._scores.weight, std=0.01)

    @property
    def _scores(self) -> nn.Conv2d:
        """The head's last layer."""
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        return last

    def forward(self, crops: Tensor) -> Tensor:
        """The foreground logits [N, P, H/4, W/4]."""
        return F.conv2d(self._projected(crops), self._scores.weight[self.points :])

    def both(self, crops: Tensor) -> Tensor:
        """Background and foreground logits [N, 2, P, H/4, W/4]."""
        maps: Tensor = self._scores(self._projected(crops))
        return maps.reshape(len(maps), 2, self.points, *maps.shape[2:])

    def _projected(self, crops: Tensor) -> Tensor:
        """The head without its last layer."""
        x: Tensor = self.head[:-1](self.extract(crops))
        return x

    def extract(self, crops: Tensor) -> Tensor:
        """RGB crops uint8 [N, H, W, 3] -> what the head is given, float [N, channels, H/4, W/4]."""
        raise NotImplementedError
