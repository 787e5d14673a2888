"""The command line as a user types it: fit, export into a repository, evaluate what was exported."""

from __future__ import annotations

import asyncio
import inspect
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.layout import WFLW98
from landmarks.metadata import METADATA_KEY, ModelMetadata
from landmarks.repository import configurations, model_path, provenance
from landmarks.runtime import identify
from landmarks.size import Size
from tests.train.command import landmarks_train
from tests.train.miniature import write_miniature
from train.__main__ import main
from train.commands import ALIASES, COMMANDS
from train.commands.command_line import load_command, parse
from train.commands.paper import ProtocolArguments
from train.config import Config
from train.errors import TrainingError, UncalibratedError

CONFIG = """
batch_size = 4
warmup_epochs = 0.5
stages = [{ epochs = 2, input_size = 64 }]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"faces300w:{write_miniature(tmp_path_factory.mktemp('data') / 'faces')}"


@pytest.fixture(scope="module")
def run(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.toml").write_text(CONFIG)
    done = landmarks_train("fit", "--data", data, "--config", folder / "tiny.toml", "--out", folder / "tiny")
    assert done.returncode == 0, done.stderr
    assert "epoch 1" in done.stderr  # the progress bar
    return folder / "tiny"


@pytest.mark.parametrize("boxes", ["P1", "P2"])
def test_export_warns_of_a_run_about_boxes_that_no_detector_finds(
    boxes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.model_validate({"stages": [{"epochs": 1, "input_size": 64}], "boxes": boxes})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    metadata = SimpleNamespace(name="compact", run_id="compact-1")
    monkeypatch.setattr("train.commands.export.export", lambda *_, **__: metadata)
    parse(["export", "--run", str(tmp_path)]).execute()
    said = capsys.readouterr()
    assert said.out == "exported compact (run compact-1) into model_repo\n"
    assert ("in the boxes of a detector it errs more than a run of `fit --boxes P2`" in said.err) == (boxes == "P1")


def test_export_writes_a_model_that_says_what_it_is(run: Path, repository_copy: Path) -> None:
    done = landmarks_train("export", "--run", run, "--repository", repository_copy, "--uncalibrated")
    assert done.returncode == 0, done.stderr
    import onnx

    model = onnx.load(model_path(repository_copy))
    (text,) = (item.value for item in model.metadata_props if item.key == METADATA_KEY)
    metadata = ModelMetadata.from_json(text)
    assert metadata.codec.input_size == Size.square(64)
    assert metadata.codec.covariance_scale == 1.0  # not calibrated yet
    assert metadata.degrees_of_freedom == {}
    assert metadata.run_id == json.loads((run / "run.json").read_text())["run_id"]
    assert metadata.data == ("faces300w:faces",)
    assert np.array(metadata.golden_points).shape == (98, 2)
    assert np.array(metadata.golden_scores).shape == (98,)
    assert np.array(metadata.golden_covariances).shape == (98, 3)
    # TensorRT takes bytes but can only convert them, so nothing else may come before
    assert [node.op_type for node in model.graph.node if "crops" in node.input] == ["Cast"]
    for name in ("heatmap", "decode", "landmarks"):
        for path in configurations(repository_copy, name):
            assert provenance(model_path(repository_copy).read_bytes()) in path.read_text()
    gpu = (repository_copy / "heatmap/configs/gpu.pbtxt").read_text()
    assert "crops:8x64x64x3" in gpu
    assert gpu.count(provenance(model_path(repository_copy).read_bytes()).removeprefix("sha256:")) == 2
    # the 8-bit network was that of another one
    assert not model_path(repository_copy, precision="int8").exists()
    assert not list(repository_copy.glob("*/configs/int8.pbtxt"))


def test_a_run_that_was_not_calibrated_is_exported_on_request_only(run: Path, repository_copy: Path) -> None:
    before = model_path(repository_copy).read_bytes()
    with pytest.raises(UncalibratedError, match=f"`landmarks-train calibrate --run {run} --data ...` first"):
        parse(["export", "--run", str(run), "--repository", str(repository_copy)]).execute()
    assert model_path(repository_copy).read_bytes() == before


def test_a_calibrated_run_is_exported_calibrated(run: Path, repository_copy: Path, data: str, tmp_path: Path) -> None:
    calibrated = shutil.copytree(run, tmp_path / "run")
    done = landmarks_train("calibrate", "--run", calibrated, "--data", data, "--held-out", 2)
    assert done.returncode == 0, done.stderr
    tails = json.loads(done.stdout)["tails"]
    assert landmarks_train("export", "--run", calibrated, "--repository", repository_copy).returncode == 0
    metadata, _ = identify(model_path(repository_copy))
    assert isinstance(metadata.codec.covariance_scale, tuple)
    assert metadata.codec.covariance_scale[96] == pytest.approx(tails["pupils"]["scale"], abs=1e-4)
    assert metadata.codec.covariance_floor == 0.16
    assert set(metadata.degrees_of_freedom) == set(WFLW98.groups)


def test_the_exported_model_has_the_runs_figures(run: Path, repository_copy: Path, data: str) -> None:
    landmarks_train("export", "--run", run, "--repository", repository_copy, "--uncalibrated")
    from_run = landmarks_train("evaluate", "--run", run, "--data", data)
    from_model = landmarks_train("evaluate", "--model", model_path(repository_copy), "--data", data)
    report = json.loads((run / "report.json").read_text())
    assert json.loads(from_run.stdout)["by_k"] == report["by_k"]
    for k, figures in json.loads(from_model.stdout)["by_k"].items():
        assert figures["nme"] == pytest.approx(report["by_k"][k]["nme"], abs=0.05)


def test_evaluate_by_decoder_boxes_and_with_plots(run: Path, data: str, tmp_path: Path) -> None:
    options = ["--decoder", "argmax", "topk", "--boxes", "P1", "P2", "--flip", "--plots", tmp_path]
    done = landmarks_train("evaluate", "--run", run, "--data", data, *options)
    assert done.returncode == 0, done.stderr
    both = json.loads(done.stdout)
    assert list(both) == ["P1", "P2"]
    for boxes, figures in both.items():
        assert (figures["boxes"], figures["flip_averaged"], figures["faces"]) == (boxes, "points", 4)
        assert figures["by_decoder"]["argmax"]["nme"] == pytest.approx(figures["by_k"]["1"]["nme"], abs=1e-3)
        assert figures["by_decoder"]["topk"]["nme"] == pytest.approx(figures["by_k"]["9"]["nme"], abs=1e-3)
        assert {path.name for path in (tmp_path / boxes).iterdir()} == {
            "ced.png",
            "best.png",
            "worst.png",
            "reliability.png",
        }
    assert both["P1"]["by_k"] != both["P2"]["by_k"]


def test_triton_serves_what_was_exported(run: Path, repository_copy: Path, needs_triton: None) -> None:
    """Another crop size than the shipped model's, and the golden crop comes back as exported."""
    pytest.importorskip("tritonclient.grpc", reason="the serving dependencies are not installed")
    from service.engines.triton.engine import TritonEngine
    from service.triton_server.process import EmbeddedTriton

    assert landmarks_train("export", "--run", run, "--repository", repository_copy, "--uncalibrated").returncode == 0

    async def serve() -> tuple[Size, bool]:
        triton = EmbeddedTriton(repository_copy)
        engine = TritonEngine(await triton.start())
        try:
            await engine.start()
            return engine.model.metadata.codec.input_size, await engine.ready()
        finally:
            await engine.close()
            await triton.stop()

    assert asyncio.run(serve()) == (Size.square(64), True)


def test_a_second_fit_does_not_overwrite_the_first(run: Path, data: str) -> None:
    done = landmarks_train("fit", "--data", data, "--config", run.parent / "tiny.toml", "--out", run)
    assert done.returncode == 1
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--data", "nowhere:/x", "--out", "run"],
        ["fit", "--data", "wflw:/nonexistent", "--out", "run"],
        ["export", "--run", "/nonexistent"],
        ["evaluate", "--run", "/nonexistent", "--data", "wflw:/nonexistent"],
    ],
)
def test_what_the_user_can_mend_is_one_line(arguments: list[str]) -> None:
    done = landmarks_train(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("landmarks-train: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --model {0}/gone.onnx --data {1}", "gone.onnx: no such file"),
        ("evaluate --model {0}/bad.onnx --data {1}", "bad.onnx: not an ONNX file that can be run"),
        ("robustness --model {0}/gone.onnx --data {1}", "gone.onnx: no such file"),
        ("robustness --model {0}/bad.onnx --data {1}", "bad.onnx: not an ONNX file that can be run"),
        ("evaluate-detector --model {0}/bad.onnx --data {1}", "bad.onnx: not an ONNX file that can be run"),
        ("quantize --repository {0} --data {1}", "no model file {0}/heatmap/1/model.onnx"),
        ("fit --config {0}/bad.onnx --data {1} --out {0}/run", "cannot read the configuration '{0}/bad.onnx'"),
        ("evaluate --run {0} --data {1}", "checkpoint.pt: not a PyTorch file of weights"),
        ("calibrate --run {0} --data {1}", "checkpoint.pt: not a PyTorch file of weights"),
    ],
)
def test_a_file_that_is_missing_or_bad_is_one_line(
    data: str,
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x7fELF\xff")
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    monkeypatch.setattr("sys.argv", ["landmarks-train", *arguments.format(tmp_path, data).split()])
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("landmarks-train: ")
    assert message.format(tmp_path) in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decoder", "argmax", "best"], "decoder must be one of topk, argmax, quarter, 3x3, all, not 'best'"),
        (["--topk", "0"], "topk must lie between 1 and the 256 cells"),
    ],
)
def test_a_reading_that_cannot_be_is_one_line(
    run: Path,
    data: str,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["landmarks-train", "evaluate", "--run", str(run), "--data", data, *options])
    assert main() == 1
    assert capsys.readouterr().err.startswith(f"landmarks-train: {message}")


@pytest.mark.parametrize(("backbone", "is_slow"), [("hrnet_w18", True), ("compact", False)])
def test_a_large_network_on_a_cpu_comes_with_a_warning(
    data: str, tmp_path: Path, backbone: str, is_slow: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It is printed before the training, which ends here because the folder holds a run."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(TrainingError):
        parse(["fit", "--data", data, "--backbone", backbone, "--out", str(tmp_path)]).execute()
    assert ("there is no CUDA device: hrnet_w18 (of the configuration h3r)" in capsys.readouterr().err) == is_slow


def test_help_lists_the_shipped_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    for command, names in (("fit", "compact, compact128, compact64,"), ("fit-detector", "detector, detector_finetune")):
        with pytest.raises(SystemExit):
            parse([command, "--help"])
        assert f"a shipped one: {names}" in " ".join(capsys.readouterr().out.split())


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse([])
    assert "landmarks-train fit --data" in capsys.readouterr().err


def test_help_teaches() -> None:
    done = landmarks_train("evaluate", "--help")
    assert done.returncode == 0
    assert "usage: landmarks-train evaluate" in done.stdout
    assert "\nFigures of a run or of an exported model, as JSON. Errors over the split for testing" in done.stdout
    assert "\nexample:\n  landmarks-train evaluate --model model_repo/heatmap/1/model.onnx" in done.stdout


def test_every_command_shows_an_example_that_can_be_typed() -> None:
    for name in COMMANDS:
        invocation = parse([name, *shlex.split(load_command(name).EXAMPLE)])
        assert (invocation.name, invocation.run) == (name, load_command(name).run)
        parameters = set(inspect.signature(invocation.run).parameters)
        if "protocol" in parameters:  # **protocol, which `table` and `figure` have in common
            parameters = parameters - {"protocol"} | set(ProtocolArguments.__annotations__)
        assert set(invocation.arguments) == parameters


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_command(alias: str, name: str) -> None:
    invocation = parse([alias, *shlex.split(load_command(name).EXAMPLE)])
    assert (invocation.name, invocation.run) == (name, load_command(name).run)


def test_the_list_of_commands_loads_none_of_them() -> None:
    code = (
        "import sys; from train.commands.command_line import parse\n"
        "try: parse(['--help'])\n"
        "except SystemExit: print({'torch', 'pydantic', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line[4] != " "] == [
        "fit", "evaluate", "predict", "export", "fit-shape", "fit-visibility", "calibrate", "fit-conversion",
        "convert-points", "import-checkpoint", "import-onnx", "quantize", "report-faces", "robustness", "table",
        "figure", "gather-pictures", "complete-boxes", "mine-detector", "fit-detector", "calibrate-detector",
        "evaluate-detector", "export-detector", "synthesize-poses",
    ]  # fmt: skip


def test_a_package_that_is_missing_is_named_and_how_to_get_it() -> None:
    code = "import sys; sys.modules['torch'] = None; from train.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "evaluate", "--run", "nowhere", "--data", "faces300w:nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "landmarks-train: torch is not installed: pip install -e '.[train]' in the project's checkout\n",
    )
