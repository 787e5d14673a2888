"""What the tests of several packages share: the model repository, one real Triton, and the optional real data."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings

from landmarks.repository import model_path, stamp
from landmarks.runtime import identify
from service.triton_server.process import EmbeddedTriton

ROOT = Path(__file__).parents[1]

# a busy machine must not fail a test of properties
settings.register_profile("untimed", deadline=None)
# make mutation: the same examples each time, and no smaller one sought once a mutant is noticed
settings.register_profile(
    "mutation", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests, marked `anyio`, run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder that holds faces300w/: LANDMARKS_TEST_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("LANDMARKS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "faces300w").is_dir():
        pytest.skip(f"no faces300w/ in {folder}: set LANDMARKS_TEST_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def wflw_shapes(test_data: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Real 98-point shapes [1760, 98, 2]."""
    with np.load(test_data / "wflw98_shapes.npz") as file:
        return np.asarray(file["points"], np.float32)


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """The repository as shipped."""
    return ROOT / "model_repo"


@pytest.fixture
def repository_copy(model_repository: Path, tmp_path: Path) -> Path:
    """A copy of the shipped repository that a test may spoil."""
    return Path(shutil.copytree(model_repository, tmp_path / "model_repo"))


@pytest.fixture
def repository_with_wrong_weights(repository_copy: Path) -> Path:
    """A copy whose largest weight is zero and whose stamps agree with that file: it loads, but answers wrongly."""
    import openvino  # an optional dependency, of the extra `triton`

    path = model_path(repository_copy)
    constants = [node for node in openvino.Core().read_model(path).get_ops() if node.get_type_name() == "Constant"]
    weights = max((node.data for node in constants if node.data.dtype == np.float32), key=lambda data: data.size)
    content = path.read_bytes()
    assert content.count(weights.tobytes()) == 1
    path.write_bytes(content.replace(weights.tobytes(), bytes(weights.nbytes)))
    stamp(repository_copy, identify(path)[0])
    return repository_copy


@pytest.fixture(scope="session")
def needs_triton() -> None:
    """Skips where the wheel that holds Triton does not exist. Where it does, a missing one is a failure."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the nvidia-pytriton wheel is for Linux on x86-64")


@pytest.fixture(scope="session")
def shared_triton(needs_triton: None, model_repository: Path) -> Iterator[tuple[str, str]]:
    """A real Triton that serves the shipped repository for the whole session: host:port of its gRPC API, and the URL
    of its metrics.
    """
    triton = EmbeddedTriton(model_repository, port=0)
    yield asyncio.run(triton.start()), triton.metrics_url
    asyncio.run(triton.stop())


@pytest.fixture(scope="session")
def triton_url(shared_triton: tuple[str, str]) -> str:
    """Its gRPC API."""
    return shared_triton[0]


def counted(metrics_url: str, model: str) -> tuple[int, int]:
    """The samples that a model of a Triton has computed, and the batches that they came in."""
    with urllib.request.urlopen(metrics_url, timeout=60) as answer:
        text = answer.read().decode()
    names = ("nv_inference_count", "nv_inference_exec_count")
    found = [re.search(rf'^{name}{{model="{model}",version="1"}} (\d+)', text, re.MULTILINE) for name in names]
    samples, batches = [int(match[1]) for match in found if match is not None]
    return samples, batches
