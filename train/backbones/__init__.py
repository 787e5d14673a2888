"""The networks by name: RGB crops uint8 [N, H, W, 3] in, logits float [N, P, H/4, W/4] out, for multiples of 32.

A new one is a module with such a network, and a line in BACKBONES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from torch import nn

from landmarks.layout import WFLW98
from train.backbones.compact import Compact
from train.backbones.hrnet import HRNet
from train.backbones.mobilenet import MobileNetV2
from train.backbones.pose import RESNETS, PoseHRNet, PoseResNet
from train.backbones.refinement import RefinedNetwork
from train.errors import ConfigError

BACKBONES: Final[Mapping[str, Callable[[int], nn.Module]]] = {
    "compact": Compact,
    "compact_deep": partial(Compact, blocks=(1, 3, 8, 6)),
    "hrnet_w18": partial(HRNet, width=18),
    "hrnet_w32": partial(HRNet, width=32),
    "hrnet_w48": partial(HRNet, width=48),
    "mobilenet_v2": MobileNetV2,
    "pose_hrnet_w32": partial(PoseHRNet, width=32),
    "pose_hrnet_w48": partial(PoseHRNet, width=48),
    **{name: partial(PoseResNet, blocks=blocks) for name, blocks in RESNETS.items()},
}
"""By the name that configurations and runs have: from the number of points to the network."""


def build(
    name: str, points: int = WFLW98.points, shape_refinement: bool = False, visibility: bool = False
) -> nn.Module:
    """The backbone of that name for `points` points, with random weights, and with a ShapeRefinement as its last layer
    or without; beside that, with a Visibility layer or without. Raises ConfigError for an unknown name.
    """
    if name not in BACKBONES:
        raise ConfigError(f"name: unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    network = BACKBONES[name](points)
    return RefinedNetwork(network, points, visibility) if shape_refinement else network
