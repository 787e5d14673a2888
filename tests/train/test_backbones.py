"""The backbones: input and output, cost, and the names and shapes of their parameters."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from landmarks.size import Size  # noqa: E402
from tests.train import published  # noqa: E402
from tests.train.published import Shapes  # noqa: E402
from train.backbones import BACKBONES, build  # noqa: E402
from train.backbones.cost import cost_of  # noqa: E402
from train.backbones.hrnet import HRNet  # noqa: E402
from train.backbones.mobilenet import MobileNetV2  # noqa: E402
from train.errors import ConfigError  # noqa: E402
from train.objectives import heatmap_loss  # noqa: E402


def crops(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    batch: Tensor = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
    return batch


@pytest.fixture(scope="module")
def w18() -> HRNet:
    torch.manual_seed(0)
    model = build("hrnet_w18").eval()
    assert isinstance(model, HRNet)
    return model


COMPACT_SOME: dict[str, tuple[int, ...]] = {
    "stem.0.0.weight": (16, 3, 3, 3),
    "stem.1.1.running_var": (32,),
    "stages.0.0.body.0.0.weight": (16, 32, 3, 3),
    "stages.3.0.0.weight": (128, 80, 3, 3),
    "stages.3.2.body.1.1.bias": (128,),
    "lateral.3.0.weight": (48, 128, 1, 1),
    "merge.2.0.weight": (48, 48, 3, 3),
    "head.weight": (98, 48, 1, 1),
    "head.bias": (98,),
}


@pytest.mark.parametrize("name", ["compact", "hrnet_w18", "mobilenet_v2"])
@pytest.mark.parametrize(("points", "height", "width"), [(98, 64, 64), (5, 96, 32)])
def test_bytes_give_maps_at_stride_four(name: str, points: int, height: int, width: int) -> None:
    model = build(name, points).eval()
    with torch.inference_mode():
        logits = model(crops(2, 96)[:, :height, :width])
    assert logits.shape == (2, points, height // 4, width // 4)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_an_unknown_name_is_refused_with_those_known() -> None:
    with pytest.raises(
        ConfigError, match=r"'resnet'; known: compact, compact_deep, hrnet_w18, .*, mobilenet_v2, pose_hrnet_w32"
    ):
        build("resnet")
    poses = {"pose_hrnet_w32", "pose_hrnet_w48", "pose_resnet_50", "pose_resnet_101", "pose_resnet_152"}
    faces = {"compact", "compact_deep", "hrnet_w18", "hrnet_w32", "hrnet_w48", "mobilenet_v2"}
    assert set(BACKBONES) == faces | poses


def test_a_checkpoint_of_the_compact_backbone_has_the_names_and_shapes_of_earlier_ones() -> None:
    shapes = {name: tuple(value.shape) for name, value in build("compact").state_dict().items()}
    assert len(shapes) == 170
    assert sum(p.numel() for p in build("compact").parameters()) == 747_970
    assert {name: shapes[name] for name in COMPACT_SOME} == COMPACT_SOME


# ---------------------------------------------------------------- HRNet


@pytest.mark.parametrize("width", [18, 32, 48])
def test_hrnet_has_the_published_names_and_shapes(width: int) -> None:
    with torch.device("meta"):
        model = build(f"hrnet_w{width}")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    wanted = published.backbone(width) | published.head("head", width, 98)
    assert len(wanted) == 1830 + 7
    assert shapes == wanted


@pytest.mark.parametrize(("points", "millions", "giga"), [(98, 9.69, 4.84), (68, 9.67, 4.77)])
def test_hrnet_w18_has_the_published_size_and_cost(points: int, millions: float, giga: float) -> None:
    """As stated with the paper's code, for crops of 256 pixels."""
    parameters, multiply_adds = cost_of("hrnet_w18", Size.square(256), points)
    assert round(parameters / 1e6, 2) == millions
    assert round(multiply_adds / 1e9, 2) == giga


# ---------------------------------------------------------------- pose networks


@pytest.mark.parametrize(
    ("name", "shapes", "millions"),
    [
        ("pose_hrnet_w32", published.pose_hrnet(32, 17), 28.5),
        ("pose_hrnet_w48", published.pose_hrnet(48, 17), 63.6),
        ("pose_resnet_50", published.pose_resnet((3, 4, 6, 3), 17), 34.0),
        ("pose_resnet_101", published.pose_resnet((3, 4, 23, 3), 17), 53.0),
        ("pose_resnet_152", published.pose_resnet((3, 8, 36, 3), 17), 68.6),
    ],
)
def test_pose_networks_have_the_published_names_shapes_and_sizes(name: str, shapes: Shapes, millions: float) -> None:
    """Sizes as HRNet's paper states them."""
    with torch.device("meta"):
        model = build(name, 17)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == shapes
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


def test_a_pose_resnet_gives_maps_and_expects_blue_first() -> None:
    model = build("pose_resnet_50", 16).eval()
    seen: list[Tensor] = []
    handle = model.get_submodule("conv1").register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    crop = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    crop[..., 2] = 255  # blue
    with torch.inference_mode():
        maps = model(crop)
    handle.remove()
    assert maps.shape == (1, 16, 16, 16)
    assert seen[0][0, :, 3, 5].tolist() == pytest.approx([2.2489, -2.0357, -1.8044], abs=1e-4)


# ---------------------------------------------------------------- MobileNetV2


def test_mobilenet_has_the_released_names_and_shapes() -> None:
    with torch.device("meta"):
        model = build("mobilenet_v2")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == published.mobilenet() | published.unit("head", 152, 152, 1) | {"head.3.weight": (196, 152, 1, 1)}


@pytest.mark.parametrize(
    ("points", "size", "millions", "giga"),
    [(98, 256, 0.60, 0.51), (98, 160, 0.60, 0.20), (98, 128, 0.60, 0.13), (68, 256, 0.59, 0.47), (68, 128, 0.59, 0.12)],
)
def test_mobilenet_has_the_published_size_and_cost(points: int, size: int, millions: float, giga: float) -> None:
    """As stated with the paper's code."""
    parameters, multiply_adds = cost_of("mobilenet_v2", Size.square(size), points)
    assert round(parameters / 1e6, 2) == millions
    assert round(multiply_adds / 1e9, 2) == giga


def test_mobilenet_gives_its_foreground_from_the_features_of_three_strides() -> None:
    model = build("mobilenet_v2").eval()
    assert isinstance(model, MobileNetV2)
    batch = crops(1, 64)
    with torch.inference_mode():
        seen = model.extract(batch)
        x = model.features[:4](model.normalised(batch))
        y = model.features[4:7](x)
        foreground, both = model(batch), model.both(batch)
    assert seen.shape == (1, 24 + 32 + 96, 16, 16)
    assert torch.equal(seen[:, :24], x)
    assert torch.equal(seen[:, 24:56], nn.functional.interpolate(y, (16, 16), mode="bilinear", align_corners=False))
    assert torch.allclose(foreground, both[:, 1], atol=1e-5)


def test_the_count_of_multiply_adds_misses_no_convolution(w18: HRNet) -> None:
    normalised: list[int] = []
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output: normalised.append(output.numel()))
        for layer in w18.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        w18.both(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    for handle in handles:
        handle.remove()
    assert cost_of("hrnet_w18", Size.square(64)).multiply_adds == counter.get_total_flops() / 2 + 2 * sum(normalised)


def test_hrnet_normalises_rgb_as_its_published_weights_expect(w18: HRNet) -> None:
    seen: list[Tensor] = []
    handle = w18.conv1.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    crop = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    crop[..., 0], crop[..., 1], crop[..., 2] = 255, 0, 51
    with torch.inference_mode():
        w18(crop)
    handle.remove()
    assert seen[0].shape == (1, 3, 32, 32)
    assert seen[0][0, :, 7, 9].tolist() == pytest.approx([2.2489, -2.0357, -0.9156], abs=1e-4)


def test_hrnet_gives_the_second_half_of_its_channels(w18: HRNet) -> None:
    batch = crops(2, 64)
    with torch.inference_mode():
        foreground, both = w18(batch), w18.both(batch)
        channels = w18.head(w18.extract(batch))
    assert both.shape == (2, 2, 98, 16, 16)
    assert torch.allclose(foreground, channels[:, 98:], atol=1e-5)
    assert torch.allclose(both.flatten(1, 2), channels, atol=1e-5)


def scores_gradient(model: HRNet, loss: Tensor) -> Tensor:
    """[2 * points, channels, 1, 1] of the head's last layer."""
    (gradient,) = torch.autograd.grad(loss, [model.head[3].weight])
    assert isinstance(gradient, Tensor)
    return gradient


def test_the_loss_reaches_the_foreground_alone() -> None:
    torch.manual_seed(0)
    model = HRNet(points=3, width=18)
    targets = torch.tensor([[5, 6, 7], [1, 2, 3]])

    gradient = scores_gradient(model, heatmap_loss(model(crops(2, 32)), targets))
    assert (gradient[:3] == 0).all()
    assert (gradient[3:].abs().sum(dim=(1, 2, 3)) > 0).all()


def test_a_new_hrnet_gives_nearly_uniform_maps(w18: HRNet) -> None:
    targets = torch.zeros(2, 98, dtype=torch.int64)
    with torch.inference_mode():
        loss = heatmap_loss(HRNet(points=98).train()(crops(2, 64)), targets).item()
    assert loss == pytest.approx(5.545, abs=0.3)  # ln(16 * 16)


def test_the_compact_backbone_keeps_to_its_budget() -> None:
    """At most 1 M parameters and about 0.5 G multiply-adds at 256 pixels."""
    parameters, multiply_adds = cost_of("compact", Size.square(256))
    assert parameters < 1_000_000
    assert multiply_adds < 0.5e9
