"""`landmarks doctor`: each check finds what is wrong, and says what to do."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.cli import doctor as doctor_module
from service.cli.doctor import Problem, Skipped, compose_files, compose_gateway, doctor, gpu, model_files, readable_by
from service.settings import Settings
from tests.conftest import ROOT


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a checkout on a machine with Docker, of whose variables none is for Compose."""
    (tmp_path / "docker-compose.yml").touch()
    (tmp_path / "deploy" / "secrets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", {"docker": "/usr/bin/docker"}.get)
    for name in ("COMPOSE_FILE", "SECRETS", "GATEWAY_ENV_FILE", "BIND"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_line_for_each_check_and_status_1_where_there_is_something_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_module, "available_memory", lambda: 4 << 30)
    settings = Settings(engine="local", port=0, grpc_port=0)
    assert doctor(settings) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:24].strip() for line in lines] == list(doctor_module.CHECKS)
    assert [line[:6].strip() for line in lines] == ["ok", "ok", "ok", "-", "ok", "ok", "-", "-", "-"]
    monkeypatch.setattr(doctor_module, "available_memory", lambda: 1 << 30)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert doctor(settings.model_copy(update={"port": port, "tls_key": tmp_path / "gone.pem"})) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("TO DO")]
    for line, part in zip(found, (f"127.0.0.1:{port}", "1024 MiB are available", "LANDMARKS_TLS_CERT"), strict=True):
        assert part in line


def test_a_model_file_that_is_another_one_is_found(repository_copy: Path) -> None:
    settings = Settings(model_repository=repository_copy)
    assert model_files(settings).startswith(str(repository_copy))
    detector = repository_copy / "detector" / "1" / "model.onnx"
    detector.write_bytes(detector.read_bytes() + b"x")
    with pytest.raises(Problem, match=r"detector/1/model.onnx is not the file that .*/detector/config.pbtxt states"):
        model_files(settings)
    detector.unlink()
    with pytest.raises(Problem, match="write it by landmarks-train export-detector"):
        model_files(settings)


def test_a_triton_elsewhere_is_asked() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Problem, match=f"no Triton at {url}"):
            doctor_module.inference(Settings(triton_url=url))
        server.listen()
        assert doctor_module.inference(Settings(triton_url=url)) == f"Triton at {url}"


def test_the_user_of_the_containers_must_read_the_keys(checkout: Path) -> None:
    key = checkout / "deploy" / "secrets" / "server.key"
    key.touch()
    for mode, is_readable in ((0o644, True), (0o600, False)):
        key.chmod(mode)
        assert readable_by(key, 10001) == is_readable
    assert readable_by(key, os.getuid())
    with pytest.raises(Problem, match=r"user 10001 .* cannot read deploy/secrets/server.key: sudo chown 10001"):
        compose_files(Settings())
    (checkout / "mine").mkdir(mode=0o755)
    (checkout / ".env").write_text("SECRETS=mine\n")
    assert compose_files(Settings()) == "user 10001 can read mine"


def test_the_settings_of_the_gateways_container_are_checked(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_API_KEYS", "not one of the container's")
    with pytest.raises(Problem, match=r"deploy/gateway\.env cannot be read .*GATEWAY_ENV_FILE"):
        compose_gateway(Settings())
    settings = checkout / "deploy" / "gateway.env"
    shutil.copy(ROOT / "deploy" / "gateway.env", settings)
    assert compose_gateway(Settings()) == "deploy/gateway.env, for BIND=127.0.0.1"
    for line, message in (
        ("LANDMARKS_GRASE=2", "LANDMARKS_GRASE is not a setting"),
        ("LANDMARKS_GRACE=soon", "LANDMARKS_GRACE: must be a number"),
        ("LANDMARKS_API_KEYS_FILE=/run/landmarks/keys", "deploy/secrets/keys"),
    ):
        settings.write_text(line)
        with pytest.raises(Problem, match=f"^deploy/gateway.env.*{message}"):
            compose_gateway(Settings())
    (checkout / ".env").write_text("BIND='0.0.0.0' # all\nGATEWAY_ENV_FILE=mine.env\n")
    (checkout / "mine.env").write_text("# none\n")
    with pytest.raises(Problem, match=r"mine.env, with BIND=0\.0\.0\.0: .*clients are not authenticated"):
        compose_gateway(Settings())
    (checkout / "mine.env").write_text('LANDMARKS_API_KEYS_FILE="/run/landmarks/keys" # of clients\n')
    (checkout / "deploy" / "secrets" / "keys").write_text(f"ana:{'0' * 64}\n")
    assert compose_gateway(Settings()) == "mine.env, for BIND=0.0.0.0"


def test_without_a_gpu_the_line_of_the_settings_is_proposed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "GPU_DRIVER", checkout / "none")
    line = "COMPOSE_FILE=docker-compose.yml:deploy/compose.cpu.yml"
    for text in ("", f"#{line}\n"):
        (checkout / ".env").write_text(text)
        with pytest.raises(Problem, match=f"no driver of an NVIDIA GPU: .* echo {line} >> .env"):
            gpu(Settings())
    (checkout / ".env").write_text(f"TAG=1\n{line}\n")
    assert gpu(Settings()).startswith("none needed")


def test_a_gpu_needs_the_container_toolkit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "GPU_DRIVER", checkout)
    with pytest.raises(Problem, match="container toolkit is missing"):
        gpu(Settings())
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert gpu(Settings()) == "an NVIDIA GPU, with the container toolkit"


def test_compose_is_skipped_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checks: tuple[Callable[[Settings], str], ...] = (compose_files, compose_gateway, gpu)
    for check in checks:
        with pytest.raises(Skipped):
            check(Settings())


def test_the_line_for_hosts_without_a_gpu_names_files_that_exist() -> None:
    names = doctor_module.CPU_COMPOSE.removeprefix("COMPOSE_FILE=").split(":")
    assert all((ROOT / name).is_file() for name in names)
    assert f"#{doctor_module.CPU_COMPOSE}\n" in (ROOT / "deploy" / "env.example").read_text()
    assert doctor_module.CPU_COMPOSE in (ROOT / "deploy" / "build.sh").read_text()
