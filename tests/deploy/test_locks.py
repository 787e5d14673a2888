"""The lock files meet the requirements of pyproject.toml; `make lock` writes them."""

import re
import sys

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.deploy.tools import DEPLOY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "gateway.txt": ["gateway", "otel"],
    "triton.txt": ["triton"],
    "triton-gpu.txt": ["triton-gpu"],
    "triton-cpu.txt": ["triton-cpu"],
    "train-cpu.txt": ["train", "triton"],
    "train-cuda.txt": ["train", "triton"],
}
PYTHON = {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}


def pinned(name: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (DEPLOY / "locks" / name).read_text(), re.MULTILINE))


def requirements_of(extras: list[str]) -> list[Requirement]:
    """The direct requirements of the project with these extras."""
    optional = PROJECT["project"]["optional-dependencies"]
    texts = PROJECT["project"]["dependencies"] + [text for extra in extras for text in optional[extra]]
    requirements = [Requirement(text) for text in texts]
    own = [r for r in requirements if r.name == PROJECT["project"]["name"]]
    nested = [requirement for r in own for requirement in requirements_of(sorted(r.extras))]
    applying = [r for r in requirements if r not in own and (r.marker is None or r.marker.evaluate(PYTHON))]
    return applying + nested


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_meets_the_requirements(name: str) -> None:
    versions = pinned(name)
    for requirement in requirements_of(LOCKS[name]):
        assert requirement.name in versions, f"{requirement} is missing: make lock"
        assert requirement.specifier.contains(versions[requirement.name]), f"{requirement} is not met: make lock"


def test_the_build_backend_is_pinned() -> None:
    (backend,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert backend.specifier.contains(pinned("build.txt")[backend.name])


@pytest.mark.parametrize("name", [*LOCKS, "build.txt"])
def test_every_file_is_known_by_its_hash_and_no_index_is_named(name: str) -> None:
    text = (DEPLOY / "locks" / name).read_text()
    entries = re.split(r"\n(?=[a-z])", text.split("\n", 2)[2])
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_gateway_needs_no_network_runtime_and_the_embedded_service_has_all() -> None:
    assert {"openvino", "nvidia-pytriton", "torch"}.isdisjoint(pinned("gateway.txt"))
    everything = {requirement.name for requirement in requirements_of(["serve"])}
    assert everything == {requirement.name for requirement in requirements_of(["gateway", "triton-cpu"])}


@pytest.mark.parametrize("name", LOCKS)
def test_no_image_reports_home(name: str) -> None:
    """Where openvino-telemetry is installed, OpenVINO reports its imports to Google Analytics."""
    assert "openvino-telemetry" not in pinned(name)


def test_numpy_is_one_that_tritons_wheel_understands() -> None:
    assert {pinned(name)["numpy"].split(".")[0] for name in LOCKS} == {"1"}
