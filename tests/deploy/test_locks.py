"""The lock files meet the requirements of pyproject.toml; `make lock` writes them."""

import re
import sys

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT
from tests.deploy.tools import DEPLOY, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "serve.txt": ["serve"],
    "demo.txt": ["serve", "demo"],
    "shots.txt": ["vfx", "usd"],
    "gateway.txt": ["gateway", "otel"],
    "triton.txt": ["triton"],
    "triton-gpu.txt": ["triton-gpu"],
    "triton-cpu.txt": ["triton-cpu"],
    "train-cpu.txt": ["train", "triton"],
    "train-cuda.txt": ["train", "triton"],
}
SEVERAL_PYTHONS = ("serve.txt", "demo.txt", "shots.txt")
"""Lock files for any Python that pyproject.toml allows; the others are for that of an image."""


def environment_of(python: str) -> dict[str, str]:
    """Of markers."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }


def pinned(name: str, python: str = "3.11") -> dict[str, str]:
    """Package -> version, for this Python."""
    environment = environment_of(python)
    lines = re.findall(r"^([a-z0-9-]+==[^\\\n]+)", (DEPLOY / "locks" / name).read_text(), re.MULTILINE)
    found = [Requirement(line) for line in lines]
    versions = [
        (each.name, str(each.specifier)[2:]) for each in found if not each.marker or each.marker.evaluate(environment)
    ]
    assert len(versions) == len(dict(versions)), "a package is pinned twice"
    return dict(versions)


def requirements_of(extras: list[str], python: str = "3.11") -> list[Requirement]:
    """The direct requirements of the project with these extras."""
    optional = PROJECT["project"]["optional-dependencies"]
    texts = PROJECT["project"]["dependencies"] + [text for extra in extras for text in optional[extra]]
    requirements = [Requirement(text) for text in texts]
    own = [r for r in requirements if r.name == PROJECT["project"]["name"]]
    nested = [requirement for r in own for requirement in requirements_of(sorted(r.extras), python)]
    environment = environment_of(python)
    applying = [r for r in requirements if r not in own and (r.marker is None or r.marker.evaluate(environment))]
    return applying + nested


@pytest.mark.parametrize(
    ("name", "python"),
    [(name, "3.11") for name in LOCKS] + [(name, python) for name in SEVERAL_PYTHONS for python in ("3.10", "3.12")],
)
def test_a_lock_file_meets_the_requirements(name: str, python: str) -> None:
    versions = pinned(name, python)
    for requirement in requirements_of(LOCKS[name], python):
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


def test_numpy_1_and_its_old_opencv_are_only_where_tritons_wheel_is() -> None:
    """Decision 0050."""
    old = {name for name in LOCKS if "nvidia-pytriton" in pinned(name)}
    assert old == {"serve.txt", "demo.txt", "triton-cpu.txt"}
    for name in LOCKS:
        numpy, opencv = Version(pinned(name)["numpy"]), Version(pinned(name)["opencv-python-headless"])
        assert (numpy < Version("2")) == (name in old), name
        assert (opencv < Version("4.12")) == (name in old), name


def test_make_installs_for_users_only_what_is_pinned_by_hash() -> None:
    """`make up` and `make demo`, as make would run them in a checkout without an environment."""
    recipes = run("make", "--dry-run", "--always-make", "up", "demo").splitlines()
    commands = [command for line in recipes for command in line.split("&&") if "pip install" in command]
    assert len(commands) == 4
    for command in commands:
        if "--requirement" in command:
            assert "--require-hashes" in command
        else:
            assert command.split("pip install", 1)[1].split() == [
                *("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"),
                *("--editable", "."),
            ]


def test_the_table_of_exposure_has_the_versions_of_the_locks() -> None:
    text = (ROOT / "docs/deploy/exposure.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([a-z-]+)\b[^|]* \| ([\d.]+)[^|]* \| ([\d.]+)[^|]* \|$", text, re.MULTILINE)
    assert len(rows) >= 10
    for package, gateway, serve in rows:
        assert (gateway, serve) == (pinned("gateway.txt")[package], pinned("serve.txt")[package]), package
    for name, package in (("triton-cpu.txt", "numpy"), ("triton.txt", "numpy"), ("triton.txt", "openvino")):
        assert pinned(name)[package] in text
    assert pinned("triton-cpu.txt")["openvino"] == pinned("triton.txt")["openvino"]
