"""The parameters of the published HRNet files by name and shape, written down from the files' layout, not the code."""

from __future__ import annotations

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, channels: int) -> Shapes:
    entries: Shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return entries | {f"{name}.num_batches_tracked": ()}


def unit(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
    """A convolution `.0` and its batch normalisation `.1`."""
    return {f"{name}.0.weight": (outputs, inputs, kernel, kernel)} | norm(f"{name}.1", outputs)


def bottleneck(name: str, inputs: int) -> Shapes:
    entries: Shapes = {
        f"{name}.conv1.weight": (64, inputs, 1, 1),
        f"{name}.conv2.weight": (64, 64, 3, 3),
        f"{name}.conv3.weight": (256, 64, 1, 1),
    }
    return entries | norm(f"{name}.bn1", 64) | norm(f"{name}.bn2", 64) | norm(f"{name}.bn3", 256)


def basic(name: str, channels: int) -> Shapes:
    entries: Shapes = {f"{name}.conv{i}.weight": (channels, channels, 3, 3) for i in (1, 2)}
    return entries | norm(f"{name}.bn1", channels) | norm(f"{name}.bn2", channels)


def module(name: str, widths: list[int], outputs: int | None = None) -> Shapes:
    entries: Shapes = {}
    for branch, width in enumerate(widths):
        for block in range(4):
            entries |= basic(f"{name}.branches.{branch}.{block}", width)
    for to, wide in enumerate(widths[:outputs]):
        for source, width in enumerate(widths):
            path = f"{name}.fuse_layers.{to}.{source}"
            if source > to:
                entries |= unit(path, width, wide, 1)
            for step in range(to - source):
                last = step == to - source - 1
                entries |= unit(f"{path}.{step}", width, wide if last else width, 3)
    return entries


def backbone(width: int, outputs: int | None = None) -> Shapes:
    a, b, c, d = width, 2 * width, 4 * width, 8 * width
    entries: Shapes = {"conv1.weight": (64, 3, 3, 3), "conv2.weight": (64, 64, 3, 3)}
    entries |= norm("bn1", 64) | norm("bn2", 64)
    entries |= bottleneck("layer1.0", 64) | unit("layer1.0.downsample", 64, 256, 1)
    for block in (1, 2, 3):
        entries |= bottleneck(f"layer1.{block}", 256)
    entries |= unit("transition1.0", 256, a, 3) | unit("transition1.1.0", 256, b, 3)
    entries |= module("stage2.0", [a, b])
    entries |= unit("transition2.2.0", b, c, 3)
    for i in range(4):
        entries |= module(f"stage3.{i}", [a, b, c])
    entries |= unit("transition3.3.0", c, d, 3)
    for i in range(3):
        entries |= module(f"stage4.{i}", [a, b, c, d], outputs if i == 2 else None)
    return entries


def head(name: str, width: int, points: int) -> Shapes:
    """15 * width channels projected, then a background and a foreground map per point; no biases."""
    total = 15 * width
    return unit(name, total, total, 1) | {f"{name}.3.weight": (2 * points, total, 1, 1)}


def classifier() -> Shapes:
    """Some of what an ImageNet file holds besides the backbone."""
    entries: Shapes = {"incre_modules.0.0.conv1.weight": (32, 18, 1, 1), "downsamp_modules.0.0.bias": (256,)}
    return entries | {"final_layer.0.weight": (2048, 1024, 1, 1), "classifier.weight": (1000, 2048)}


def landmark_model(width: int = 18, points: int = 98) -> Shapes:
    """A released landmark model."""
    entries = {f"backbone.{name}": shape for name, shape in backbone(width).items()}
    return entries | head("heatmap_head.head.layers", width, points)


def pose_hrnet(width: int, points: int) -> Shapes:
    """A released pose network: its last module has the output of stride 4 alone."""
    return backbone(width, 1) | {"final_layer.weight": (points, width, 1, 1), "final_layer.bias": (points,)}


def pose_resnet(blocks: tuple[int, ...], points: int) -> Shapes:
    """A released pose network of ResNet."""
    entries: Shapes = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    inputs = 64
    for number, depth in enumerate(blocks, 1):
        middle = 32 << number
        for block in range(depth):
            name = f"layer{number}.{block}"
            entries |= {f"{name}.conv1.weight": (middle, inputs, 1, 1), f"{name}.conv2.weight": (middle, middle, 3, 3)}
            entries |= {f"{name}.conv3.weight": (4 * middle, middle, 1, 1)}
            entries |= norm(f"{name}.bn1", middle) | norm(f"{name}.bn2", middle) | norm(f"{name}.bn3", 4 * middle)
            if block == 0:
                entries |= unit(f"{name}.downsample", inputs, 4 * middle, 1)
            inputs = 4 * middle
    for layer, channels in ((0, 2048), (3, 256), (6, 256)):
        entries |= {f"deconv_layers.{layer}.weight": (channels, 256, 4, 4)} | norm(f"deconv_layers.{layer + 1}", 256)
    return entries | {"final_layer.weight": (points, 256, 1, 1), "final_layer.bias": (points,)}


def mobilenet() -> Shapes:
    """The backbone of the small landmark models: stem, then (expansion, channels, blocks) as published."""
    entries: Shapes = unit("features.0", 3, 32, 3)
    number, inputs = 1, 32
    for expansion, outputs, blocks in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3)):
        for _ in range(blocks):
            name, middle = f"features.{number}.conv", expansion * inputs
            at = 0
            if expansion > 1:
                entries |= {f"{name}.0.weight": (middle, inputs, 1, 1)} | norm(f"{name}.1", middle)
                at = 3
            entries |= {f"{name}.{at}.weight": (middle, 1, 3, 3)} | norm(f"{name}.{at + 1}", middle)
            entries |= {f"{name}.{at + 3}.weight": (outputs, middle, 1, 1)} | norm(f"{name}.{at + 4}", outputs)
            number, inputs = number + 1, outputs
    return entries


def mobilenet_model(points: int = 98) -> Shapes:
    """A released small landmark model."""
    entries = {f"backbone.{name}": shape for name, shape in mobilenet().items()}
    head_name = "heatmap_head.head.layers"
    return entries | unit(head_name, 152, 152, 1) | {f"{head_name}.3.weight": (2 * points, 152, 1, 1)}


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random values of those shapes, tame enough for activations to stay finite.

    Those of a landmark head's last layer are smaller, so that its heatmaps are about as large as a trained network's.
    Where heatmaps are in the thousands, rounding to 32 bits alone can change covariances by more than an export admits;
    whether it does depends on the kernels of the machine and on the number of threads.
    """
    generator = torch.Generator().manual_seed(seed)

    def value(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            return torch.rand(shape, generator=generator) + 0.5
        scale = 0.0005 if name.endswith("layers.3.weight") else 0.05
        return torch.randn(shape, generator=generator) * scale

    return {name: value(name, shape) for name, shape in shapes.items()}
