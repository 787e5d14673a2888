"""An exported network is imported as a run that computes the same, and that training continues from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

import onnx  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from landmarks.codec import CodecSpec  # noqa: E402
from landmarks.metadata import ModelMetadata  # noqa: E402
from landmarks.repository import model_path  # noqa: E402
from landmarks.size import Size  # noqa: E402
from tests.train.command import landmarks_train  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.backbones import build  # noqa: E402
from train.backbones.layers import ConvNorm  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.errors import ConfigError, TrainingError  # noqa: E402
from train.evaluation.trained import load_run, open_export, open_run  # noqa: E402
from train.export.import_onnx import (  # noqa: E402
    config_of,
    identity,
    module_path,
    norms_after,
    recalibrate_batchnorm,
    unfuse_batchnorm,
)
from train.export.onnx_file import open_session, write_onnx  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"faces300w:{write_miniature(tmp_path_factory.mktemp('faces'))}"


def command(*words: object) -> None:
    parse([str(word) for word in words]).execute()


def test_the_shipped_network_is_trained_further_and_exported_again(
    data: str, tmp_path: Path, repository_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_path(repository_copy)
    command("import-onnx", "--model", path, "--data", data, "--out", tmp_path / "run", "--samples", 8)
    assert "fit --weights" in capsys.readouterr().out

    crops = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
    exported, imported = open_export(path), open_run(tmp_path / "run")
    assert np.allclose(exported.network(crops).heatmaps, imported.network(crops).heatmaps, atol=0.02)
    assert (imported.codec.points, imported.codec.input_size) == (98, Size.square(256))
    assert imported.crop_scale == exported.crop_scale

    # in training every normalisation now sees what its statistics say, so that the function stays what it was
    model = load_run(tmp_path / "run")[1]
    norms = [norm for _, norm in norms_after(model).values()]
    assert len(norms) == 48
    assert all(float(norm.running_var.min()) > 0 for norm in norms if norm.running_var is not None)

    # the layer that was solved for it stays behind, and everything else is where training starts
    (tmp_path / "tiny.toml").write_text(
        'name = "compact_deep"\nbatch_size = 2\nlearning_rate = 1e-9\nstages = [{ epochs = 1, input_size = 64 }]\n'
    )
    fit = ["fit", "--data", data, "--config", tmp_path / "tiny.toml", "--workers", 0]
    command(*fit, "--weights", tmp_path / "run" / "checkpoint.pt", "--out", tmp_path / "further")
    weights = load_run(tmp_path / "further")[1].state_dict()
    head = model.state_dict()["network.head.weight"]
    assert torch.allclose(weights["head.weight"], head, atol=1e-6)
    assert not any(name.startswith("tilt") for name in weights)

    # the layer included, it can be exported as it is
    done = landmarks_train("export", "--run", tmp_path / "run", "--repository", repository_copy, "--uncalibrated")
    assert done.returncode == 0, done.stderr
    stated = ModelMetadata.from_mapping(open_session(path).get_modelmeta().custom_metadata_map)
    assert stated.run_id.startswith("imported-")

    with pytest.raises(TrainingError, match="choose another --out"):
        command("import-onnx", "--model", path, "--data", data, "--out", tmp_path / "run", "--samples", 1)
    with pytest.raises(TrainingError, match="--samples must be at least 1, not 0"):
        command("import-onnx", "--model", path, "--data", data, "--out", tmp_path / "none", "--samples", 0)


def test_normalisations_are_given_their_statistics_and_nothing_changes() -> None:
    torch.manual_seed(0)
    layer = ConvNorm(3, 2, act=False).eval()
    layer.norm.load_state_dict(identity(layer.norm, torch.tensor([0.5, -1.0])))
    model = nn.Sequential(Bytes(), layer).eval()
    crops = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), np.uint8)
    pixels = torch.from_numpy(crops)
    with torch.no_grad():
        before = model(pixels)
    recalibrate_batchnorm(model, crops)
    with torch.no_grad():
        assert torch.allclose(model(pixels), before, atol=1e-5)
    # what it computes in training, of the same crops, is the same as well
    assert torch.allclose(model.train()(pixels), before, atol=1e-3)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_equal_weights_of_which_the_exporter_keeps_one_are_all_found(tmp_path: Path) -> None:
    model = build("compact").eval()  # of a fresh network the last convolution of every block is folded to zeros
    metadata, path = (
        ModelMetadata("compact", CodecSpec(input_size=Size.square(64)), 1.25, "run", ("faces",)),
        tmp_path / "model.onnx",
    )
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
    write_onnx(model, crops[:1], {"crops": {0: "n"}, "heatmaps": {0: "n"}}, ("heatmaps",), metadata, path)
    again = build("compact").eval()
    again.load_state_dict(unfuse_batchnorm(onnx.load(path).graph, again, path))
    with torch.no_grad():
        assert torch.allclose(again(crops), model(crops), atol=1e-5)


def test_an_hrnet_lacks_what_is_not_exported(tmp_path: Path) -> None:
    graph = onnx.GraphProto()
    with pytest.raises(TrainingError, match=r"hrnet\.onnx does not hold a network that can be trained: missing: "):
        unfuse_batchnorm(graph, build("hrnet_w18"), tmp_path / "hrnet.onnx")


class Bytes(nn.Module):
    def forward(self, crops: Tensor) -> Tensor:
        return crops.permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("/network/stem/stem.0/stem.0.0/Conv", "network.stem.0.0"),
        ("/stages.2/stages.2.1/body/body.0/body.0.0/Conv", "stages.2.1.body.0.0"),
        ("/head/Conv", "head"),
        ("Conv_12", ""),
    ],
)
def test_an_operation_tells_its_module(node: str, module: str) -> None:
    assert module_path(node) == module


@pytest.mark.parametrize("name", ["compact", "compact_deep", "hrnet_w18"])
def test_every_convolution_without_a_bias_has_its_normalisation(name: str) -> None:
    model = build(name)
    modules = dict(model.named_modules())
    found = norms_after(model)
    assert set(found) == {
        path for path, layer in modules.items() if isinstance(layer, nn.Conv2d) and layer.bias is None
    } - {path for path in modules if path == "head.3"}
    assert all(modules[path].out_channels == norm.num_features for path, (_, norm) in found.items())


def test_networks_in_8_bits_are_refused(repository_copy: Path) -> None:
    stated = ModelMetadata.from_mapping(open_session(model_path(repository_copy)).get_modelmeta().custom_metadata_map)
    with pytest.raises(ConfigError, match="8 bits"):
        config_of(replace(stated, name="compact_deep-int8"), shaped=True, visibility=True)
