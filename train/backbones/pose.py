"""Networks for human poses: HRNet with one output, and ResNet with a head of three deconvolutions.

Those of tables 11 to 14 of Yu and Tao, "Heatmap Regression via Randomized Rounding" (appendix B), which has them from
HRNet's code. Attributes are named so that every parameter has the name and shape of the published weights. These were
trained by squared error against Gaussians (`objective = "gaussian"`): maps hold activations, not logits.

Source: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; Sun et al., "Deep
High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from torch import Tensor, nn
from torch.nn import functional as F

from train.backbones.hrnet import HRNetBranches, conv
from train.backbones.layers import ConvNorm, ImageNetInput

RESNETS: Final[Mapping[str, tuple[int, ...]]] = {
    "pose_resnet_50": (3, 4, 6, 3),
    "pose_resnet_101": (3, 4, 23, 3),
    "pose_resnet_152": (3, 8, 36, 3),
}
"""Blocks of each layer, by the name of the backbone."""
EXPANSION: Final = 4
"""Output channels of a ResNet's block over its inner ones."""
DECONVOLVED: Final = 256
"""Channels of the deconvolutions."""


class PoseNetwork(ImageNetInput):
    """RGB crops uint8 [N, H, W, 3] -> maps float [N, P, H/4, W/4], for any H and W divisible by 32.

    A network is a subclass that makes its layers, `final_layer` the last, and has `extract`.
    """

    CLASSIFIER: ClassVar[tuple[str, ...]]
    """Prefixes of the parameters of a published classifier of ImageNet that the pose network does not have."""
    HEAD: ClassVar[tuple[str, ...]]
    """Prefixes of the parameters that a published classifier lacks."""

    final_layer: nn.Conv2d

    def initialise(self) -> None:
        """Random weights for every convolution, with nearly empty maps at the start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.final_layer.weight, std=0.001)
        if self.final_layer.bias is not None:
            nn.init.zeros_(self.final_layer.bias)

    def forward(self, crops: Tensor) -> Tensor:
        maps: Tensor = self.final_layer(self.extract(crops))
        return maps

    def extract(self, crops: Tensor) -> Tensor:
        """RGB crops uint8 [N, H, W, 3] -> what the last layer is given, float [N, channels, H/4, W/4]."""
        raise NotImplementedError


class PoseHRNet(HRNetBranches, PoseNetwork):
    """An HRNet whose last layer is given the branch of stride 4 alone."""

    CLASSIFIER: ClassVar = (
        *("incre_modules.", "downsamp_modules.", "classifier."),
        *(f"stage4.2.fuse_layers.{branch}." for branch in (1, 2, 3)),
    )
    HEAD: ClassVar = ("final_layer.",)

    def __init__(self, points: int = 17, width: int = 32) -> None:
        super().__init__()
        self.add_branches(width, outputs=1)
        self.final_layer = nn.Conv2d(width, points, 1)
        self.initialise()

    def extract(self, crops: Tensor) -> Tensor:
        return self.branches(self.normalised(crops))[0]


class Bottleneck(nn.Module):
    """1x1 down, 3x3 with the stride, 1x1 up, added to the input, which is projected where the shape differs."""

    def __init__(self, inputs: int, middle: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * middle
        self.conv1, self.bn1 = conv(inputs, middle, 1), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = conv(middle, middle, stride=stride), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = conv(middle, outputs, 1), nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class PoseResNet(PoseNetwork):
    """A ResNet to stride 32, and three deconvolutions back to stride 4. Its published weights expect blue first."""

    CLASSIFIER: ClassVar = ("fc.",)
    HEAD: ClassVar = ("deconv_layers.", "final_layer.")

    def __init__(self, points: int = 17, blocks: Sequence[int] = RESNETS["pose_resnet_50"]) -> None:
        super().__init__(bgr=True)
        self.conv1, self.bn1 = conv(3, 64, 7, stride=2), nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._layer(64 if i == 0 else EXPANSION * 32 << i, 64 << i, depth, 1 if i == 0 else 2)
            for i, depth in enumerate(blocks)
        )
        layers: list[nn.Module] = []
        for i in range(3):
            inputs = EXPANSION * 512 if i == 0 else DECONVOLVED
            deconvolution = nn.ConvTranspose2d(inputs, DECONVOLVED, 4, 2, 1, bias=False)
            layers += [deconvolution, nn.BatchNorm2d(DECONVOLVED), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(DECONVOLVED, points, 1)
        self.initialise()

    @staticmethod
    def _layer(inputs: int, middle: int, depth: int, stride: int) -> nn.Sequential:
        outputs = EXPANSION * middle
        return nn.Sequential(
            Bottleneck(inputs, middle, stride), *(Bottleneck(outputs, middle, 1) for _ in range(depth - 1))
        )

    def extract(self, crops: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(self.normalised(crops)))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        deconvolved: Tensor = self.deconv_layers(x)
        return deconvolved
