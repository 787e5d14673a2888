"""docker-compose.yml on a real Docker engine: containers, networks, ports and answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from tests.conftest import ROOT
from tests.containers.engine import composes, docker, health, inspect, wait_for
from tests.containers.load import BOX, IMAGE, POINT_0
from tests.containers.service import BASE_IMAGE, PROMETHEUS, Service

pytestmark = pytest.mark.timeout(1800)


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


def test_only_the_apis_are_published_and_only_to_this_machine(service: Service) -> None:
    ports = inspect(service.gateway)["NetworkSettings"]["Ports"]
    published = {port: {where["HostIp"] for where in wheres} for port, wheres in ports.items() if wheres}
    assert published == {"8080/tcp": {"127.0.0.1"}, "8081/tcp": {"127.0.0.1"}}
    networks = inspect(service.triton)["NetworkSettings"]
    assert not any(networks["Ports"].values())
    (network,) = networks["Networks"]
    assert inspect(network)["Internal"] is True


def test_both_apis_give_the_same_answer(service: Service) -> None:
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


def test_an_image_without_a_box_is_answered(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/landmarks", content=IMAGE, timeout=60).json()
    assert [face["box_source"] for face in answer["faces"]] == ["detected"]


def test_triton_has_the_grpc_health_that_kubernetes_probes(service: Service) -> None:
    script = (
        "import grpc; from grpc_health.v1 import health_pb2, health_pb2_grpc\n"
        "stub = health_pb2_grpc.HealthStub(grpc.insecure_channel('triton:8001'))\n"
        "print(stub.Check(health_pb2.HealthCheckRequest()).status)"
    )
    assert docker("exec", service.gateway, "python3", "-c", script) == "1"


def test_prometheus_finds_all_parts_and_reads_the_alerts_and_the_probe_gets_its_answer(
    service: Service, tmp_path: Path
) -> None:
    """With this machine's Prometheus in an image that looks like the official one."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus on this machine: on Debian, apt-get install prometheus")
    shutil.copy(binary, tmp_path / "prometheus")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {BASE_IMAGE}\nCOPY prometheus /bin/\nRUN install --directory --owner 65534 /prometheus\n"
        'USER 65534\nENTRYPOINT ["/bin/prometheus"]\n'
    )
    docker("build", "--tag", PROMETHEUS, str(tmp_path))
    service.project.run("--profile", "monitoring", "up", "-d", "prometheus", "probe")
    expected = {("gateway", "1"), ("triton", "1"), ("probe", "1")}
    wait_for(lambda: targets(service) == expected, "all to be scraped")
    wait_for(lambda: values(service, "landmarks_probe_success") == ["1", "1"], "both APIs to answer the probe")
    groups = httpx.get(f"{service.prometheus}/rules").json()["data"]["groups"]
    written = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    assert sum(len(group["rules"]) for group in groups) == written.count("- alert: ") + written.count("- record: ")
    assert inspect(service.project.container("prometheus"))["HostConfig"]["ReadonlyRootfs"] is True


def targets(service: Service) -> set[tuple[str, str]]:
    """(job, up) of every target; empty while Prometheus does not answer."""
    found = samples(service, "up")
    assert len(found) <= 3
    return {(target["metric"]["job"], target["value"][1]) for target in found}


def values(service: Service, query: str) -> list[str]:
    return [sample["value"][1] for sample in samples(service, query)]


def samples(service: Service, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers; nothing while it does not."""
    try:
        answer = httpx.get(f"{service.prometheus}/query", params={"query": query})
    except httpx.TransportError:
        return []
    return list(answer.json()["data"]["result"])
