"""The images, built once, and the service that runs them.

The names suite_*.py keep these tests out of the ordinary run; `make test-containers` runs them. BASE_IMAGE, PIP_CONF
and the other settings of deploy/build.sh come from the environment, as do DOCKER and COMPOSE, the commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from service.triton_server.process import free_ports
from tests.containers.engine import DOCKER, Project, build, composes, docker
from tests.containers.service import PROMETHEUS, TAG, Service


@pytest.fixture(scope="session")
def images() -> None:
    assert docker("info", check=False), f"{DOCKER} reaches no Docker engine: start one"
    built = build("gateway", "triton-cpu", TAG=TAG)
    assert built.returncode == 0, built.stderr[-5000:]


@pytest.fixture(scope="session")
def service(images: None) -> Iterator[Service]:
    assert composes(), "no Compose: install docker-compose, or docker's plugin"
    rest, rpc, metrics = free_ports(3)
    ports = {"REST_PORT": str(rest), "GRPC_PORT": str(rpc)}
    monitoring = {"PROMETHEUS_PORT": str(metrics), "PROMETHEUS_IMAGE": PROMETHEUS}
    project = Project(composes()[0], f"landmarks-test-{os.getpid()}", {**ports, **monitoring, "TAG": TAG})
    try:
        project.run("up", "-d")
        project.wait_until_healthy()
        yield Service(project, rest, rpc, metrics)
    finally:
        project.run("--profile", "monitoring", "down", "--volumes", "--timeout", "5")


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line that pytest does not capture."""

    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="", flush=True)  # noqa: T201

    return print_line
