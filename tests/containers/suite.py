"""The images and docker-compose.yml on a real Docker engine: make test-containers.

The name keeps this file out of the ordinary run. BASE_IMAGE, PIP_CONF and the other settings of deploy/build.sh are
taken from the environment, as are DOCKER and COMPOSE, the commands. What every restart cost is printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.embedded import free_ports
from service.rpc.pb import landmarks_pb2 as pb
from service.rpc.pb import landmarks_pb2_grpc
from tests.conftest import ROOT
from tests.containers.engine import (
    DOCKER,
    Project,
    build,
    composes,
    crash,
    docker,
    health,
    inspect,
    wait_for,
    wait_until_healthy,
)
from tests.containers.load import BOX, IMAGE, POINT_0, ask_grpc, ask_rest, load

pytestmark = pytest.mark.timeout(1800)

TAG = "test-containers"
GATEWAY, TRITON = f"h3r-landmarks/gateway:{TAG}", f"h3r-landmarks/triton-cpu:{TAG}"
BASE_IMAGE = "python:3.11-slim-bookworm"
PROMETHEUS = "h3r-landmarks/prometheus-stand-in"
MEGABYTE = 10**6

# what an attempt may come to while something is down; see "What a restart costs" in docs/deploy.md
TOLD_BY_TRITON = {"ok", "unavailable", "internal"}
TOLD_BY_GATEWAY = {"ok", "refused", "broken"}


class Service:
    """The project, up."""

    def __init__(self, project: Project, rest: int, rpc: int, metrics: int) -> None:
        self.project = project
        self.rest, self.rpc = rest, rpc
        self.prometheus = f"http://127.0.0.1:{metrics}/api/v1"
        self.url = f"http://127.0.0.1:{rest}"

    @property
    def gateway(self) -> str:
        return self.project.container("gateway")

    @property
    def triton(self) -> str:
        return self.project.container("triton")

    def in_flight(self) -> int:
        script = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9100/metrics').read().decode())"
        text = docker("exec", self.gateway, "python3", "-I", "-c", script)
        match = re.search(r"^landmarks_in_flight (\d+)", text, re.MULTILINE)
        assert match is not None
        return int(match[1])


@pytest.fixture(scope="session")
def images() -> None:
    assert docker("info", check=False), f"no Docker engine answers {DOCKER}: start one"
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
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line of the report, past pytest's capturing."""

    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="", flush=True)  # noqa: T201

    return print_line


# ---------------------------------------------------------------- images


@pytest.mark.parametrize(("image", "megabytes"), [(GATEWAY, 370), (TRITON, 620)])
def test_images_are_small_and_labelled(images: None, image: str, megabytes: int, tell: Callable[[str], None]) -> None:
    described = inspect(image)
    base = inspect(os.environ.get("BASE_IMAGE", BASE_IMAGE))
    # the official base image has 130 MB, a stand-in may have more
    own = (described["Size"] - base["Size"]) / MEGABYTE
    tell(f"{image}: {own:.0f} MB on top of its base image of {base['Size'] / MEGABYTE:.0f} MB")
    assert own < megabytes
    assert described["Config"]["User"] == "10001:10001"
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert re.fullmatch("[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_the_gateway_holds_neither_torch_nor_a_network_runtime(images: None) -> None:
    packages = docker("run", "--rm", "--entrypoint", "ls", GATEWAY, "/opt/venv/lib/python3.11/site-packages")
    assert "fastapi" in packages.split()
    assert not {"torch", "openvino", "pytriton", "pip", "setuptools"} & set(packages.split())


def test_pip_hears_the_secrets(images: None, tmp_path: Path) -> None:
    """Each secret alone keeps packages from being fetched: so both arrive, and nothing else is asked."""
    closed, empty = tmp_path / "pip.conf", tmp_path / "bundle.pem"
    closed.write_text("[global]\nno-index = true\n")
    empty.write_text("no certificate\n")
    for name, file, words in (("PIP_CONF", closed, "No matching"), ("CA_BUNDLE", empty, "TLS|SSL|cert")):
        failed = build("wheels", root=ROOT, LOCKS="build.txt", BUILD_OPTIONS="--no-cache", **{name: str(file)})
        assert failed.returncode != 0
        assert re.search(words, failed.stderr), failed.stderr[-2000:]


def copied_tree(folder: Path) -> Path:
    """What an image is built from, so that files can be added."""
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("landmarks", "service", "train", "model_repo", "deploy"):
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


def test_the_gpu_image_is_built_on_a_stand_in_of_nvidias(images: None, tmp_path: Path) -> None:
    """NVIDIA's image has Triton under /opt/tritonserver and a system Python with pip: so has this."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {TRITON}\nUSER root\nENV PATH=/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin\n"
        "RUN rm -r /opt/venv/bin\n"
    )
    stand_in = "h3r-landmarks/tritonserver-stand-in"
    docker("build", "--tag", stand_in, str(tmp_path))
    built = build("triton", TAG=TAG, TRITON_IMAGE=stand_in)
    assert built.returncode == 0, built.stderr[-5000:]
    image = f"h3r-landmarks/triton:{TAG}"
    assert inspect(image)["Config"]["User"] == "10001:10001"
    script = (
        "from pathlib import Path; from landmarks.runtime import identify\n"
        "print(identify(Path('/models/heatmap/1/model.onnx'))[0].name)"
    )
    assert docker("run", "--rm", "--read-only", "--entrypoint", "python3", image, "-c", script) == "compact_deep"
    # the stand-in has no backend for GPUs, so this is the default configuration
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
    told = docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", image, "fit", "--help")
    assert "--data" in told
    docker("run", "--rm", "--entrypoint", "python", image, "-c", "import openvino, torch, train.loop")


# ---------------------------------------------------------------- compose


@pytest.mark.parametrize("profile", [(), ("--profile", "monitoring")], ids=["plain", "monitoring"])
@pytest.mark.parametrize("command", composes(), ids=" ".join)
def test_every_compose_reads_the_files(command: tuple[str, ...], profile: tuple[str, ...]) -> None:
    for files in (("-f", "docker-compose.yml"), ("-f", "docker-compose.yml", "-f", "deploy/compose.cpu.yml")):
        services = subprocess.run(
            [*command, *files, *profile, "config", "--services"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        assert {"gateway", "triton"} <= set(services)


def test_containers_are_confined_and_healthy(service: Service) -> None:
    for container in (service.gateway, service.triton):
        described = inspect(container)
        host = described["HostConfig"]
        assert described["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["Memory"] > 0
        assert health(container) == "healthy"
    assert inspect(service.triton)["HostConfig"]["ShmSize"] == 512 * 2**20


def test_only_the_doors_are_published_and_only_to_this_machine(service: Service) -> None:
    ports = inspect(service.gateway)["NetworkSettings"]["Ports"]
    published = {port: {where["HostIp"] for where in wheres} for port, wheres in ports.items() if wheres}
    assert published == {"8080/tcp": {"127.0.0.1"}, "8081/tcp": {"127.0.0.1"}}
    networks = inspect(service.triton)["NetworkSettings"]
    assert not any(networks["Ports"].values())
    (network,) = networks["Networks"]
    assert inspect(network)["Internal"] is True


def test_both_doors_answer_alike(service: Service) -> None:
    query = {"box": ",".join(map(str, BOX))}
    (rest,) = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, params=query, timeout=60).json()["faces"]
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc}") as channel:
        box = pb.Box(**dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True)))
        stub = landmarks_pb2_grpc.LandmarksStub(channel)
        (rpc,) = stub.Detect(pb.DetectRequest(image=IMAGE, boxes=[box]), timeout=60).faces
        serving = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert serving.status == health_pb2.HealthCheckResponse.SERVING
    assert len(rest["points"]) == 98
    np.testing.assert_allclose(rest["points"][0], POINT_0, atol=0.1)
    np.testing.assert_array_equal(np.array(rest["points"], np.float32).ravel(), np.array(rpc.points, np.float32))


def test_a_photograph_without_a_box_is_answered(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, timeout=60).json()
    assert [face["box_source"] for face in answer["faces"]] == ["detected"]


def test_triton_has_the_grpc_health_that_kubernetes_asks(service: Service) -> None:
    script = (
        "import grpc; from grpc_health.v1 import health_pb2, health_pb2_grpc\n"
        "stub = health_pb2_grpc.HealthStub(grpc.insecure_channel('triton:8001'))\n"
        "print(stub.Check(health_pb2.HealthCheckRequest()).status)"
    )
    assert docker("exec", service.gateway, "python3", "-c", script) == "1"


def test_prometheus_finds_gateway_and_triton_and_reads_the_alerts(service: Service, tmp_path: Path) -> None:
    """With this machine's Prometheus in an image that looks like the official one."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus on this machine: on Debian, apt-get install prometheus")
    shutil.copy(binary, tmp_path / "prometheus")
    base = os.environ.get("BASE_IMAGE", BASE_IMAGE)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nCOPY prometheus /bin/\nRUN install --directory --owner 65534 /prometheus\n"
        'USER 65534\nENTRYPOINT ["/bin/prometheus"]\n'
    )
    docker("build", "--tag", PROMETHEUS, str(tmp_path))
    service.project.run("--profile", "monitoring", "up", "-d", "prometheus")
    wait_for(lambda: targets(service) == {("gateway", "1"), ("triton", "1")}, "both to be scraped")
    groups = httpx.get(f"{service.prometheus}/rules").json()["data"]["groups"]
    assert len(groups[0]["rules"]) == 8
    assert inspect(service.project.container("prometheus"))["HostConfig"]["ReadonlyRootfs"] is True


def targets(service: Service) -> set[tuple[str, str]]:
    """(job, up) of every target; empty while Prometheus does not answer."""
    try:
        found = httpx.get(f"{service.prometheus}/query", params={"query": "up"}).json()["data"]["result"]
    except httpx.TransportError:
        return set()
    assert len(found) <= 2
    return {(target["metric"]["job"], target["value"][1]) for target in found}


# ---------------------------------------------------------------- what is lost


def test_requests_in_flight_are_answered_while_the_gateway_stops(service: Service, tell: Callable[[str], None]) -> None:
    held = Held(service, count=6)
    gateway = service.gateway
    stopping = subprocess.Popen([DOCKER, "stop", "--time", "60", gateway], stdout=subprocess.DEVNULL)
    wait_for(lambda: is_closed(service.url), "the gateway to take no more requests")
    docker("unpause", service.triton)
    outcomes = held.outcomes()
    assert stopping.wait(90) == 0
    assert inspect(gateway)["State"]["ExitCode"] == 0
    docker("start", gateway)
    service.project.wait_until_healthy()
    tell(f"gateway stopped, 6 requests in flight: {dict(outcomes)}")
    assert outcomes == {"ok": 6}


def test_requests_in_flight_are_told_when_triton_is_killed(service: Service, tell: Callable[[str], None]) -> None:
    held = Held(service, count=6)
    docker("kill", service.triton)
    outcomes = held.outcomes()
    docker("start", service.triton)
    service.project.wait_until_healthy()
    tell(f"Triton killed, 6 requests in flight: {dict(outcomes)}")
    assert outcomes.total() == 6
    assert set(outcomes) <= {"ok", "unavailable"}


EVENTS: dict[str, tuple[Callable[[Service], object], set[str]]] = {
    "Triton restarted": (lambda service: docker("restart", service.triton), TOLD_BY_TRITON),
    "Triton crashed": (lambda service: crash(service.triton, "tritonserver"), TOLD_BY_TRITON),
    "a model crashed": (lambda service: crash(service.triton, "triton_python_backend_stub"), TOLD_BY_TRITON),
    "gateway restarted": (lambda service: docker("restart", service.gateway), TOLD_BY_GATEWAY),
    "gateway crashed": (lambda service: crash(service.gateway, "landmarks"), TOLD_BY_GATEWAY),
}


@pytest.mark.parametrize("event", EVENTS)
def test_who_asks_again_is_answered_rightly(service: Service, event: str, tell: Callable[[str], None]) -> None:
    act, allowed = EVENTS[event]
    service.project.wait_until_healthy()
    with load(service.rest, service.rpc) as running:
        running.wait_for_answers(20)
        act(service)
        running.wait_for_answers(40)
    tell(f"{event}: attempts {dict(running.outcomes)}, requests never answered {running.unanswered}")
    assert running.unanswered == 0
    assert set(running.outcomes) <= allowed


def test_a_second_triton_takes_over(service: Service, tell: Callable[[str], None]) -> None:
    service.project.run("up", "-d", "--scale", "triton=2")
    service.project.wait_until_healthy()
    first, second = service.project.containers("triton")
    docker("restart", "--time", "30", service.gateway)
    service.project.wait_until_healthy()
    with load(service.rest, service.rpc) as running:
        for victim, other in ((first, second), (second, first)):
            running.wait_for_answers(20)
            docker("kill", victim)
            running.wait_for_answers(20)
            assert not inspect(victim)["State"]["Running"]
            docker("start", victim)
            wait_until_healthy(victim)
            assert health(other) == "healthy"
    tell(f"each of two Tritons killed in turn: attempts {dict(running.outcomes)}")
    service.project.run("up", "-d", "--scale", "triton=1")
    assert running.unanswered == 0
    assert set(running.outcomes) <= TOLD_BY_TRITON


class Held:
    """Requests that the gateway has accepted and Triton, paused, does not answer yet: half of them at either door."""

    def __init__(self, service: Service, count: int) -> None:
        service.project.wait_until_healthy()
        docker("pause", service.triton)
        self._outcomes: list[str] = []
        self._channel = grpc.insecure_channel(f"127.0.0.1:{service.rpc}")
        stub = landmarks_pb2_grpc.LandmarksStub(self._channel)
        asks = [lambda: ask_rest(service.url), lambda: ask_grpc(stub)] * (count // 2)
        self._threads = [threading.Thread(target=lambda ask=ask: self._outcomes.append(ask())) for ask in asks]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: service.in_flight() == count, "the requests to be accepted", 25)

    def outcomes(self) -> Counter[str]:
        for thread in self._threads:
            thread.join()
        self._channel.close()
        return Counter(self._outcomes)


def is_closed(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return True
    return False
