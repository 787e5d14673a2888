"""Published weights: every layout that is known loads, and anything else is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

import onnx  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from landmarks.metadata import METADATA_KEY, ModelMetadata  # noqa: E402
from landmarks.repository import model_path  # noqa: E402
from landmarks.size import Size  # noqa: E402
from tests.train import published  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from tests.train.published import Shapes  # noqa: E402
from train.backbones import build  # noqa: E402
from train.backbones.mobilenet import MobileNetV2  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.errors import ConfigError, TrainingError  # noqa: E402
from train.evaluation.trained import open_run  # noqa: E402
from train.runs.weights import canonical_name, differences, import_checkpoint, load_weights  # noqa: E402


def write(path: Path, shapes: Shapes, prefix: str = "", wrap: str = "") -> Path:
    values: Any = {prefix + name: value for name, value in published.filled(shapes).items()}
    torch.save({wrap: values, "epoch": 3} if wrap else values, path)
    return path


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("released") / "model.pth", published.landmark_model())


def run_command(*arguments: object) -> None:
    parse([str(argument) for argument in arguments]).execute()


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("conv1.weight", "conv1.weight"),
        ("module.conv1.weight", "conv1.weight"),
        ("backbone.stage2.0.branches.0.0.bn1.bias", "stage2.0.branches.0.0.bn1.bias"),
        ("module.backbone.layer1.0.conv3.weight", "layer1.0.conv3.weight"),
        ("heatmap_head.head.layers.3.weight", "head.3.weight"),
        ("module.heatmap_head.head.layers.1.running_mean", "head.1.running_mean"),
    ],
)
def test_published_names_become_ours(given: str, wanted: str) -> None:
    assert canonical_name(given) == wanted


# ---------------------------------------------------------------- released landmark models


def test_a_released_model_becomes_a_finished_run(released: Path, tmp_path: Path) -> None:
    config = import_checkpoint(released, tmp_path / "run", input_size=Size.square(64))
    assert (config.name, config.pixel_rule, config.crop_scale, config.topk) == ("hrnet_w18", "corner", 1.25, 9)

    trained = open_run(tmp_path / "run")
    assert (trained.codec.points, trained.codec.input_size, trained.crop_scale) == (98, Size.square(64), 1.25)
    crops = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    heatmaps = trained.network(crops).heatmaps
    assert heatmaps.shape == (1, 98, 16, 16)

    # the same by hand: the file's own last layer, its second 98 rows, over the features below it
    values = torch.load(released, weights_only=True)
    model = build("hrnet_w18").eval()
    load_weights(model, released)
    assert isinstance(model.head, nn.Sequential)
    with torch.inference_mode():
        below: Tensor = model.head[:3](model.extract(torch.from_numpy(crops)))  # type: ignore[operator]
        last = values["heatmap_head.head.layers.3.weight"][98:, :, 0, 0]
        by_hand = torch.einsum("pc,nchw->nphw", last, below)
    assert np.allclose(heatmaps, by_hand.numpy(), rtol=1e-3, atol=1e-3 * float(np.abs(heatmaps).max()))


def test_an_imported_run_says_whence_it_comes(released: Path, tmp_path: Path) -> None:
    import_checkpoint(released, tmp_path / "run")
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["weights"] == "model.pth"
    assert said["run_id"] == f"imported-{said['sha256'][:12]}"
    assert (said["data"], said["layout"]) == (["wflw"], "wflw98")


def test_an_imported_run_exports_and_evaluates(
    released: Path, repository_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    run = tmp_path / "run"
    run_command("import-checkpoint", "--weights", released, "--out", run, "--input-size", 64, "--data", data)
    assert capsys.readouterr().out == f"imported hrnet_w18 into {run}\n"

    # a process of its own: the exporter warns, and here warnings are errors
    export = [sys.executable, "-m", "train", "export", "--run", str(run), "--repository", str(repository_copy)]
    done = subprocess.run(export, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exported = onnx.load(model_path(repository_copy))
    assert [tensor.name for tensor in exported.graph.input] == ["crops"]
    # TensorRT takes bytes but can only convert them
    assert [node.op_type for node in exported.graph.node if "crops" in node.input] == ["Cast"]
    metadata = ModelMetadata.from_json({entry.key: entry.value for entry in exported.metadata_props}[METADATA_KEY])
    assert (metadata.name, metadata.data, metadata.codec.pixel_rule) == ("hrnet_w18", ("wflw",), "corner")
    calibration = json.loads((run / "calibration.json").read_text())
    scale = metadata.codec.covariance_scale
    assert isinstance(scale, tuple)
    assert scale[0] == pytest.approx(calibration["tails"]["jaw"]["scale"], abs=1e-4)

    capsys.readouterr()
    run_command("evaluate", "--run", run, "--data", data, "--topk", 1, 9)
    figures = json.loads(capsys.readouterr().out)
    assert (figures["faces"], list(figures["by_k"])) == (4, ["1", "9"])


def test_an_uncalibrated_import_says_so(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("import-checkpoint", "--weights", released, "--out", tmp_path / "run")
    assert "not calibrated: --data does that" in capsys.readouterr().out
    assert not (tmp_path / "run" / "calibration.json").exists()


def test_a_released_model_of_68_points_is_a_300w_run(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pth", published.landmark_model(points=68))
    import_checkpoint(path, tmp_path / "run")
    assert open_run(tmp_path / "run").codec.points == 68
    assert json.loads((tmp_path / "run" / "run.json").read_text())["layout"] == "ibug68"


def test_a_released_mobilenet_becomes_a_run(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pth", published.mobilenet_model())
    config = import_checkpoint(path, tmp_path / "run", input_size=Size.square(64), boxes="P1")
    assert (config.name, config.boxes) == ("mobilenet_v2", "P1")
    trained = open_run(tmp_path / "run")
    assert trained.boxes == "P1"
    crops = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    values = torch.load(path, weights_only=True)
    model = build("mobilenet_v2").eval()
    load_weights(model, path)
    assert isinstance(model, MobileNetV2)
    with torch.inference_mode():
        below: Tensor = model.head[:3](model.extract(torch.from_numpy(crops)))
        last = values["heatmap_head.head.layers.3.weight"][98:, :, 0, 0]
        by_hand = torch.einsum("pc,nchw->nphw", last, below).numpy()
    assert np.allclose(trained.network(crops).heatmaps, by_hand, rtol=1e-3, atol=1e-3 * float(np.abs(by_hand).max()))


@pytest.mark.parametrize(
    ("shapes", "name", "data", "size"),
    [
        (published.pose_hrnet(32, 16), "pose_hrnet_w32", "mpii", "256"),
        (published.pose_resnet((3, 4, 6, 3), 17), "pose_resnet_50", "coco", "256x192"),
    ],
)
def test_a_released_pose_network_is_known_by_its_shapes(
    tmp_path: Path, shapes: Shapes, name: str, data: str, size: str
) -> None:
    config = import_checkpoint(write(tmp_path / "model.pth", shapes), tmp_path / "run")
    assert str(config.stages[-1].input_size) == size
    assert (config.name, config.objective, config.pixel_rule, config.boxes) == (name, "gaussian", "corner", "P2")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == [data]
    trained = open_run(tmp_path / "run")
    assert trained.codec.topk == 11
    # any other input is computed as well: 16 rows of 8 cells
    assert trained.network(np.zeros((1, 64, 32, 3), np.uint8)).heatmaps.shape == (1, trained.codec.points, 16, 8)


def test_a_pose_network_starts_from_a_classifier_with_its_own_head(tmp_path: Path) -> None:
    path = write(tmp_path / "imagenet.pth", published.backbone(32) | published.classifier())
    model = build("pose_hrnet_w32", 16)
    head = model.state_dict()["final_layer.weight"].clone()
    load_weights(model, path)
    given = torch.load(path, weights_only=True)["stage4.2.fuse_layers.0.3.0.weight"]
    assert torch.equal(model.state_dict()["stage4.2.fuse_layers.0.3.0.weight"], given)
    assert torch.equal(model.state_dict()["final_layer.weight"], head)


def test_a_mobilenet_starts_from_a_classifier_without_its_deeper_blocks(tmp_path: Path) -> None:
    deeper: Shapes = {
        "features.14.conv.0.weight": (576, 96, 1, 1),
        "conv.0.weight": (1280, 320, 1, 1),
        "classifier.weight": (1000, 1280),
    }
    path = write(tmp_path / "imagenet.pth", published.mobilenet() | deeper)
    model = build("mobilenet_v2")
    load_weights(model, path)
    given = torch.load(path, weights_only=True)["features.13.conv.6.weight"]
    assert torch.equal(model.state_dict()["features.13.conv.6.weight"], given)


def test_a_run_is_not_overwritten(released: Path, tmp_path: Path) -> None:
    import_checkpoint(released, tmp_path / "run")
    with pytest.raises(TrainingError, match="choose another --out"):
        import_checkpoint(released, tmp_path / "run")


def test_a_size_that_cannot_be_is_refused(released: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--input-size 50"):
        import_checkpoint(released, tmp_path / "run", input_size=Size.square(50))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- weights to train from


def test_a_classifier_brings_everything_but_the_head(tmp_path: Path) -> None:
    path = write(tmp_path / "imagenet.pth", published.backbone(18) | published.classifier())
    model = build("hrnet_w18")
    head = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("head.")}
    load_weights(model, path)
    values = torch.load(path, weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, head[name] if name.startswith("head.") else values[name]), name


def test_prefixes_wrappers_and_missing_counters_do_not_matter(tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in published.backbone(18).items() if "num_batches" not in name}
    path = write(tmp_path / "imagenet.pth", shapes, prefix="module.", wrap="state_dict")
    model = build("hrnet_w18")
    load_weights(model, path)
    assert torch.equal(
        model.state_dict()["stage4.2.fuse_layers.3.0.2.0.weight"],
        torch.load(path, weights_only=True)["state_dict"]["module.stage4.2.fuse_layers.3.0.2.0.weight"],
    )


def test_a_run_can_start_from_another_runs_checkpoint(tmp_path: Path) -> None:
    first, second = build("compact"), build("compact")
    torch.save({"config": {}, "epoch": 1, "model": first.state_dict(), "optimizer": {}}, tmp_path / "checkpoint.pt")
    load_weights(second, tmp_path / "checkpoint.pt")
    assert torch.equal(second.state_dict()["head.weight"], first.state_dict()["head.weight"])


def test_a_deeper_network_starts_where_a_shallower_one_stood(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shallow, deep = build("compact", points=5), build("compact_deep", points=5)
    for norm in (module for module in shallow.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.save(shallow.state_dict(), tmp_path / "shallow.pt")
    load_weights(deep, tmp_path / "shallow.pt")
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(deep.eval()(crops), shallow.eval()(crops), atol=1e-5)


def test_fit_starts_from_published_weights(tmp_path: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    weights = write(tmp_path / "imagenet.pth", published.backbone(18) | published.classifier())
    config = tmp_path / "config.toml"
    config.write_text(
        'name = "hrnet_w18"\nbatch_size = 4\nlearning_rate = 1e-9\nstages = [{ epochs = 1, input_size = 32 }]\n'
    )
    run_command(
        "fit", "--data", data, "--config", config, "--out", tmp_path / "run", "--weights", weights, "--workers", 0
    )
    trained = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]["conv1.weight"]
    assert torch.allclose(trained, torch.load(weights, weights_only=True)["conv1.weight"], atol=1e-6)


# ---------------------------------------------------------------- what does not fit


def test_differences_are_told_by_name_and_shape() -> None:
    wanted = {"a": torch.zeros(2, 3), "b": torch.zeros(4), "c": torch.zeros(1)}
    given = {"a": torch.zeros(3, 2), "c": torch.zeros(1), "d": torch.zeros(5, 5)}
    assert differences(wanted, given) == [
        "missing: b [4]",
        "unexpected: d [5, 5]",
        "of another shape: a [3, 2] instead of [2, 3]",
    ]
    assert differences(wanted, wanted) == []


def test_long_lists_are_cut() -> None:
    wanted = {f"p{i}": torch.zeros(1) for i in range(9)}
    (difference,) = differences(wanted, {})
    assert difference == "missing: p0 [1], p1 [1], p2 [1], p3 [1], p4 [1], p5 [1] and 3 more"


def test_weights_of_another_width_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "w18.pth", published.backbone(18))
    with torch.device("meta"):
        model = build("hrnet_w32")
    with pytest.raises(TrainingError, match=r"transition1.0.0.weight \[18, 256, 3, 3\] instead of \[32, 256, 3, 3\]"):
        load_weights(model, path)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (published.landmark_model(points=106), "a head of 106 points; known are 98, 68"),
        (published.backbone(18), "without a landmark head; to train from it, give it to fit --weights"),
        ({"features.0.weight": (3,)}, "neither an HRNet nor a MobileNetV2; it holds features.0.weight"),
        (published.pose_hrnet(32, 14), "not a known pose network: it has 14 points"),
        ({"stage2.0.branches.0.0.conv1.weight": ()}, "neither an HRNet nor a MobileNetV2"),
    ],
)
def test_other_networks_are_named(tmp_path: Path, shapes: Shapes, message: str) -> None:
    path = write(tmp_path / "other.pth", shapes)
    with pytest.raises(TrainingError, match=message):
        import_checkpoint(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_head_with_biases_is_not_taken_for_a_released_one(tmp_path: Path) -> None:
    shapes = published.landmark_model() | {"heatmap_head.head.layers.0.bias": (270,)}
    path = write(tmp_path / "model.pth", shapes)
    with pytest.raises(TrainingError, match=r"unexpected: head.0.bias \[270\]"):
        import_checkpoint(path, tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PyTorch file of weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"PK\x03\x04 cut short", "not a PyTorch file of weights"),
        ([1, 2], "expected parameters by name"),
        ({}, "expected parameters by name"),
        ({"epoch": 3}, "expected parameters by name"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(TrainingError, match=message):
        import_checkpoint(path, tmp_path / "run")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothing.pth: cannot be read"):
        import_checkpoint(tmp_path / "nothing.pth", tmp_path / "run")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(TrainingError, match="not a PyTorch file"):
        import_checkpoint(tmp_path / "trap.pth", tmp_path / "run")
    assert not (tmp_path / "sprung").exists()
