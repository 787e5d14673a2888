"""The Compose files, as Compose itself reads them: 1.29 and 2, whichever this machine has."""

import os
import re
import shutil
import subprocess

import pytest

from service.cli.arguments.probe import Probe
from service.cli.command_line import parse
from service.security.api_keys import Protection, SecurityError, read_protection
from service.settings import Settings
from tests.conftest import ROOT
from tests.deploy.tools import DEPLOY

GPU = ("-f", "docker-compose.yml")
CPU = (*GPU, "-f", "deploy/compose.cpu.yml")
CANDIDATE = ("-f", "deploy/compose.candidate.yml")


def commands() -> list[tuple[str, ...]]:
    candidates: list[tuple[str, ...]] = [("docker-compose",), ("docker", "compose")]
    return [
        command
        for command in candidates
        if shutil.which(command[0])
        and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    ]


@pytest.fixture(params=commands() or [()], ids=lambda command: " ".join(command) or "none")
def compose(request: pytest.FixtureRequest) -> tuple[str, ...]:
    command: tuple[str, ...] = request.param
    if not command:
        pytest.skip("no Compose on this machine: docker-compose, or docker's plugin")
    return command


def config(compose: tuple[str, ...], *arguments: str, **settings: str) -> str:
    names = {name for name in os.environ if name not in SETTINGS}
    environment = {name: os.environ[name] for name in names} | settings
    command = [*compose, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


SETTINGS = set(re.findall(r"^#([A-Z_]+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))


def test_the_example_names_every_setting_with_its_default() -> None:
    text = "".join((ROOT / name).read_text() for name in (*GPU, *CPU, *CANDIDATE) if name != "-f")
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))
    example = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    for name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME"):  # Compose's own
        example.pop(name)
    assert example == defaults


def test_a_gpu_host_gets_nvidias_runtime_and_the_settings(compose: tuple[str, ...]) -> None:
    text = config(compose, *GPU, "config", BIND="10.1.2.3", TAG="1.2", GPUS="1", TRITON_CPUS="0-3")
    assert "runtime: nvidia" in text
    assert text.count("10.1.2.3") >= 3  # two ports, and the gateway is told
    assert re.search(r"LANDMARKS_PUBLISHED_HOST: ['\"]?10.1.2.3", text)
    assert "h3r-landmarks/triton:1.2" in text
    assert re.search(r"NVIDIA_VISIBLE_DEVICES: ['\"]1['\"]", text)
    assert "cpuset: 0-3" in text


def test_other_hosts_get_the_cpu_image_and_monitoring_by_a_profile(compose: tuple[str, ...]) -> None:
    text = config(compose, *CPU, "--profile", "monitoring", "config")
    assert "runtime: runc" in text
    assert "runtime: nvidia" not in text
    assert "h3r-landmarks/triton-cpu:latest" in text
    assert {"prom/prometheus:v3.5.0", "grafana/grafana:12.1.0"} <= set(re.findall(r"image: (\S+)", text))


def test_a_candidate_runs_beside_the_model(compose: tuple[str, ...]) -> None:
    text = config(compose, *CPU, *CANDIDATE, "config", CANDIDATE_IMAGE="ours/triton-cpu:2", CANDIDATE_RUNTIME="runc")
    assert "runtime: nvidia" not in text
    assert {"h3r-landmarks/triton-cpu:latest", "ours/triton-cpu:2"} <= set(re.findall(r"image: (\S+)", text))
    assert re.search(r"LANDMARKS_CANDIDATE_URL: candidate:8001", text)
    assert re.search(r"LANDMARKS_TRITON_URL: triton:8001", text)


def test_ports_are_published_to_this_machine_only_by_default() -> None:
    ports = re.findall(r'"(\S+):\$\{[A-Z_]+PORT:-\d+\}:\d+"', (ROOT / "docker-compose.yml").read_text())
    assert ports == ["${BIND:-127.0.0.1}", "${BIND:-127.0.0.1}", "127.0.0.1", "127.0.0.1"]


def test_prometheus_and_the_health_check_use_the_metrics_port() -> None:
    (port,) = re.findall(r'LANDMARKS_METRICS_PORT: "(\d+)"', (ROOT / "docker-compose.yml").read_text())
    assert f"names: [gateway], type: A, port: {port}," in (DEPLOY / "prometheus/prometheus.yml").read_text()
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"LANDMARKS_METRICS_PORT={port}\n" in dockerfile
    assert f"http://127.0.0.1:{port}/readyz" in dockerfile


def test_the_probes_command_is_one_and_prometheus_finds_it() -> None:
    (typed,) = re.findall(r'command: "(probe .*)"', (ROOT / "docker-compose.yml").read_text())
    command = parse(re.sub(r"\$\{PROBE:-(.*)\}", r"\1", typed).split())
    assert isinstance(command, Probe)
    assert command.urls == ["http://gateway:8080", "grpc://gateway:8081"]
    port = command.arguments.port
    assert f"names: [probe], type: A, port: {port}," in (DEPLOY / "prometheus/prometheus.yml").read_text()


def test_every_setting_of_the_gateway_exists() -> None:
    """Also of those in comments: an unknown name would be ignored without an error."""
    files = (
        DEPLOY / "gateway.env",
        DEPLOY / "tuned.env",
        ROOT / "docker-compose.yml",
        DEPLOY / "compose.candidate.yml",
    )
    texts = [path.read_text() for path in files]
    named = {name.lower() for text in texts for name in re.findall(r"\bLANDMARKS_([A-Z_]+)(?:=|: )", text)}
    named.remove("api_key")  # of clients: here of the probe
    assert {"insecure", "api_keys_file", "metrics_port"} <= named <= set(Settings.model_fields)


def test_the_container_starts_with_what_its_files_say() -> None:
    lines = dict(re.findall(r"^LANDMARKS_(\w+)=(.*)$", (DEPLOY / "gateway.env").read_text(), re.MULTILINE))
    given = {name.lower(): value for name, value in lines.items()} | {"host": "0.0.0.0"}
    (variable,) = re.findall(
        r'LANDMARKS_PUBLISHED_HOST: "\$\{(\w+):-127.0.0.1\}"', (ROOT / "docker-compose.yml").read_text()
    )
    assert variable == "BIND"
    assert read_protection(Settings(**given, published_host="127.0.0.1")) == Protection(hosts=("0.0.0.0",))
    for published in ("0.0.0.0", "10.1.2.3"):
        with pytest.raises(SecurityError, match=f"LANDMARKS_PUBLISHED_HOST={published} is reachable"):
            read_protection(Settings(**given, published_host=published))
