"""The images on a real Docker engine: their contents, and how they are built."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.containers.engine import build, docker, inspect, wait_until_healthy
from tests.containers.service import BASE_IMAGE, GATEWAY, TAG, TRITON

pytestmark = pytest.mark.timeout(1800)

MEGABYTE = 10**6


@pytest.mark.parametrize(("image", "megabytes"), [(GATEWAY, 420), (TRITON, 620)])
def test_images_are_small_and_labelled(images: None, image: str, megabytes: int, report: Callable[[str], None]) -> None:
    described = inspect(image)
    base = inspect(BASE_IMAGE)
    # the official base image has 130 MB, a substitute may have more
    own = (described["Size"] - base["Size"]) / MEGABYTE
    report(f"{image}: {own:.0f} MB on top of its base image of {base['Size'] / MEGABYTE:.0f} MB")
    assert own < megabytes
    assert described["Config"]["User"] == "10001:10001"
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert re.fullmatch("[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_the_gateway_holds_neither_torch_nor_a_network_runtime(images: None) -> None:
    packages = docker("run", "--rm", "--entrypoint", "ls", GATEWAY, "/opt/venv/lib/python3.11/site-packages")
    assert "fastapi" in packages.split()
    assert not {"torch", "openvino", "pytriton", "pip", "setuptools"} & set(packages.split())


def test_the_8_bit_network_is_served_where_the_environment_says_so(images: None) -> None:
    container = docker(
        "run", "-d", "--shm-size=512m", "--tmpfs=/tmp", "--read-only", "-e", "LANDMARKS_PRECISION=int8", TRITON
    )
    try:
        wait_until_healthy(container)
        script = (
            "import json, urllib.request as http\n"
            "text = http.urlopen('http://127.0.0.1:8000/v2/models/landmarks/config').read()\n"
            "print(json.loads(text)['parameters']['landmarks_precision']['string_value'])"
        )
        assert docker("exec", container, "python3", "-I", "-c", script) == "int8"
    finally:
        docker("rm", "-f", container)


def test_pip_gets_the_secrets(images: None, tmp_path: Path) -> None:
    """Each of these secrets makes pip fail, which shows that pip gets it."""
    closed, empty = tmp_path / "pip.conf", tmp_path / "bundle.pem"
    closed.write_text("[global]\nno-index = true\n")
    empty.write_text("no certificate\n")
    for name, file, words in (("PIP_CONF", closed, "No matching"), ("CA_BUNDLE", empty, "TLS|SSL|cert")):
        failed = build("wheels", root=ROOT, LOCKS="build.txt", BUILD_OPTIONS="--no-cache", **{name: str(file)})
        assert failed.returncode != 0
        assert re.search(words, failed.stderr), failed.stderr[-2000:]


def copied_tree(folder: Path) -> Path:
    """A copy of the files that images are built from, to which files can be added."""
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("landmarks", "landmarks_client", "service", "shots", "train", "model_repo", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.whl"))
    return folder


def test_an_image_is_built_without_a_network(images: None, tmp_path: Path) -> None:
    tree = copied_tree(tmp_path)
    fetched = build("wheels", root=tree, LOCKS="build.txt gateway.txt")
    assert fetched.returncode == 0, fetched.stderr[-5000:]
    assert list((tree / "deploy/wheels").glob("fastapi-*.whl"))
    built = build("gateway", root=tree, TAG="air-gapped", PIP_NO_INDEX="1", BUILD_OPTIONS="--network=none")
    assert built.returncode == 0, built.stderr[-5000:]
    assert "landmarks" in docker("run", "--rm", "--network=none", "h3r-landmarks/gateway:air-gapped", "--help")


def test_the_gpu_image_is_built_on_a_substitute_for_nvidias(images: None, tmp_path: Path) -> None:
    """Like NVIDIA's image, the substitute has Triton in /opt/tritonserver and a system Python with pip."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {TRITON}\nUSER root\nENV PATH=/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin\n"
        "RUN rm -r /opt/venv/bin\n"
    )
    substitute = "h3r-landmarks/tritonserver-substitute"
    docker("build", "--tag", substitute, str(tmp_path))
    # without PyTorch, which is for GPUs, and with the NumPy of the substitute's Triton, which is the wheel's
    without = "--build-arg TRITON_LOCK=triton-cpu.txt"
    built = build("triton", TAG=TAG, TRITON_IMAGE=substitute, BUILD_OPTIONS=without)
    assert built.returncode == 0, built.stderr[-5000:]
    image = f"h3r-landmarks/triton:{TAG}"
    assert inspect(image)["Config"]["User"] == "10001:10001"
    script = (
        "from pathlib import Path; from landmarks.runtime import identify\n"
        "print(identify(Path('/models/heatmap/1/model.onnx'))[0].name)"
    )
    assert docker("run", "--rm", "--read-only", "--entrypoint", "python3", image, "-c", script) == "compact_deep"
    # the substitute has no backend for GPUs, so it is started with the default configuration
    confined = ("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--network=none", "--shm-size=512m")
    server = docker("run", "--detach", *confined, image, "--model-repository=/models", "--disable-auto-complete-config")
    try:
        wait_until_healthy(server)
    finally:
        docker("rm", "--force", server)


def test_training_runs_without_rights(images: None, tmp_path: Path) -> None:
    wheels = os.environ.get("TORCH_CPU_WHEELS")
    if wheels is None:
        pytest.skip("TORCH_CPU_WHEELS names no folder with the CPU build of PyTorch")
    tree = copied_tree(tmp_path)
    for wheel in Path(wheels).glob("torch-2*cp311*.whl"):
        shutil.copy(wheel, tree / "deploy/wheels")
    built = build("train", root=tree, TAG=TAG, TORCH="cpu")
    assert built.returncode == 0, built.stderr[-5000:]
    image = f"h3r-landmarks/train:{TAG}"
    help_text = docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", image, "fit", "--help")
    assert "--data" in help_text
    docker("run", "--rm", "--entrypoint", "python", image, "-c", "import openvino, torch, train.engine.landmark_run")
