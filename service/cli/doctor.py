"""The command `landmarks doctor`: what an installation needs, checked by a small function each, one line each."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from landmarks.metadata import ModelMetadata
from landmarks.repository import (
    MODEL_KINDS,
    RepositoryError,
    check_release,
    configurations,
    model_path,
    provenance,
)
from service.engines.triton.resolver import parse_targets
from service.errors import StartError
from service.machine_memory import available_memory
from service.model_files import model_file, model_repository
from service.security.api_keys import SecurityError, read_protection
from service.server import bound_socket
from service.settings import Settings, unknown_settings, variable
from service.triton_server.process import (
    EmbeddedTritonError,
    free_shared_memory,
    libpython_folder,
    region_bytes,
    wheel_folder,
)
from service.wire.validation import describe

MEMORY_MIB: Final = 1536
"""What the gateway and its Triton need: docs/decisions/0014-memory.md has measurements."""
CONTAINER_USER: Final = 10001
"""The user of the containers."""
SECRETS_IN_CONTAINER: Final = "/run/landmarks"
"""Where the gateway's container has the folder of keys and certificates."""
GPU_DRIVER: Final = Path("/proc/driver/nvidia/version")
CPU_COMPOSE: Final = "COMPOSE_FILE=docker-compose.yml:deploy/compose.cpu.yml"
"""The line of .env with which Compose needs no GPU."""


class Problem(Exception):
    """A check failed; the message says what to do."""


class Skipped(Exception):
    """A check does not apply to this installation; the message says why."""


def model_files(settings: Settings) -> str:
    """The model files exist, are of this release, and are those whose hashes the configurations state."""
    if settings.triton_url is not None:
        raise Skipped("Triton runs elsewhere and has the models")
    repository = model_repository(settings)
    check_release(repository)
    model_file(repository, settings.precision)
    for kind, (_, models, command) in MODEL_KINDS.items():
        precision = settings.precision if kind is ModelMetadata else "float32"
        path = model_path(repository, kind=kind, precision=precision)
        try:
            stamp = provenance(path.read_bytes())
        except OSError as error:
            raise Problem(f"{path} cannot be read ({error.strerror}): write it by {command}") from error
        for config in (config for model in models for config in configurations(repository, model, precision)):
            if stamp not in config.read_text("utf-8"):
                raise Problem(f"{path} is not the file that {config} states: restore both, or run {command} again")
    return f"{repository}, with the hashes that its configurations state"


def inference(settings: Settings) -> str:
    """What runs the networks is there."""
    if settings.triton_url is not None:
        return _tritons(settings.triton_url)
    if settings.engine == "local":
        if importlib.util.find_spec("openvino") is None:
            raise Problem("OpenVINO is not installed: pip install h3r-landmarks[serve]")
        return "OpenVINO, in the gateway's process"
    libpython_folder()
    return f"Triton of the wheel in {wheel_folder()}"


def _tritons(url: str) -> str:
    try:
        targets = parse_targets(url)
    except ValueError as error:
        raise Problem(f"LANDMARKS_TRITON_URL: {error}") from error
    for target in targets:
        try:
            _connect(*target)
        except OSError as error:
            name = f"{target[0]}:{target[1]}" if target[1] else target[0]
            raise Problem(f"no Triton at {name} ({error}): start it, or set LANDMARKS_TRITON_URL") from error
    return f"Triton at {url}"


def _connect(host: str, port: int) -> None:
    """Raises OSError unless something listens there. `host`: also unix:PATH."""
    if host.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(host.removeprefix("unix:"))
    else:
        socket.create_connection((host, port), timeout=5).close()


def ports(settings: Settings) -> str:
    """The ports are free."""
    wanted = {"port": settings.port, "grpc_port": settings.grpc_port, "metrics_port": settings.metrics_port}
    with ExitStack() as bound:
        for name, number in wanted.items():
            if number is not None:
                host = settings.metrics_host or settings.host if name == "metrics_port" else settings.host
                bound.enter_context(bound_socket(host, number))
    return ", ".join(str(number) for number in wanted.values() if number is not None)


def shared_memory(settings: Settings) -> str:
    """Triton's models have room in /dev/shm."""
    if settings.triton_url is not None or settings.engine == "local":
        raise Skipped("no Triton is started here")
    free = free_shared_memory()
    region_bytes(free)
    return f"{free >> 20} MiB free in /dev/shm"


def memory(settings: Settings) -> str:  # noqa: ARG001
    """There is memory for the gateway and its Triton."""
    available = available_memory()
    if available < MEMORY_MIB << 20:
        raise Problem(
            f"{available >> 20} MiB are available, about {MEMORY_MIB} MiB are needed: end other programs, or add"
        )
    return f"{available >> 20} MiB available"


def protection(settings: Settings) -> str:
    """Keys and TLS files can be read, belong together, and suffice for the address."""
    found = read_protection(settings)
    keys = "API keys" if found.keys else "no API keys"
    return f"{keys}, {'no TLS' if found.tls is None else 'TLS'}, listening on {settings.host}"


def compose_files(settings: Settings) -> str:  # noqa: ARG001
    """The user of the containers may read the keys and certificates that Compose mounts."""
    secrets = Path(_compose_settings().get("SECRETS", "deploy/secrets"))
    unreadable = [path for path in [secrets, *secrets.glob("*")] if not readable_by(path, CONTAINER_USER)]
    if unreadable:
        names = " ".join(map(str, unreadable))
        raise Problem(
            f"user {CONTAINER_USER} of the containers cannot read {names}: sudo chown {CONTAINER_USER} {names}"
        )
    return f"user {CONTAINER_USER} can read {secrets}"


def compose_gateway(settings: Settings) -> str:  # noqa: ARG001
    """The file of the gateway's settings holds settings, and its keys and certificates suffice for the address."""
    compose = _compose_settings()
    path = Path(compose.get("GATEWAY_ENV_FILE") or "deploy/gateway.env")
    try:
        lines = _variables(path.read_text("utf-8", errors="replace"))
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror}): GATEWAY_ENV_FILE in .env names the file") from error
    if unknown := unknown_settings(lines):
        raise Problem(f"{path}: {unknown[0]} is not a setting: see `landmarks serve --help`")
    secrets = Path(compose.get("SECRETS") or "deploy/secrets")
    values: dict[str, Any] = {
        name: lines[variable(name)].replace(f"{SECRETS_IN_CONTAINER}/", f"{secrets}/")
        for name in Settings.model_fields
        if lines.get(variable(name))
    }
    published = compose.get("BIND") or "127.0.0.1"
    values |= {"host": "0.0.0.0", "published_host": published}  # noqa: S104 - in the container
    try:
        read_protection(Settings(_env_prefix="no variable ", **values))  # the container has another environment
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise Problem(f"{path}: {variable(str(wrong['loc'][0]))}: {describe(wrong)}") from error
    except SecurityError as error:
        raise Problem(f"{path}, with BIND={published}: {error}") from error
    return f"{path}, for BIND={published}"


def readable_by(path: Path, user: int) -> bool:
    """Whether a user, whose group has the same number, may read a file or list a folder. The folders above are not
    considered: Compose mounts `path` itself or its folder.
    """
    found = path.stat()
    bits = found.st_mode >> 6 if found.st_uid == user else found.st_mode >> 3 if found.st_gid == user else found.st_mode
    return bits & (5 if path.is_dir() else 4) == (5 if path.is_dir() else 4)


def gpu(settings: Settings) -> str:  # noqa: ARG001
    """Compose has the GPU that it asks for, or is told that there is none."""
    if "compose.cpu.yml" in _compose_settings().get("COMPOSE_FILE", ""):
        return "none needed, as COMPOSE_FILE in .env says"
    if not GPU_DRIVER.exists():
        raise Problem(f"no driver of an NVIDIA GPU: for Compose without one, echo {CPU_COMPOSE} >> .env")
    if shutil.which("nvidia-container-runtime") is None:
        raise Problem(
            f"NVIDIA's container toolkit is missing: see docs/deploy/install.md, or echo {CPU_COMPOSE} >> .env"
        )
    return "an NVIDIA GPU, with the container toolkit"


def _compose_settings() -> Mapping[str, str]:
    """Of Compose: .env of the current folder, over which the environment wins. Raises Skipped outside a checkout."""
    if not Path("docker-compose.yml").is_file() or shutil.which("docker") is None:
        raise Skipped("Compose is not used: no Docker here, or no docker-compose.yml in this folder")
    try:
        lines = Path(".env").read_text("utf-8")
    except OSError:
        lines = ""
    return _variables(lines) | dict(os.environ)


def _variables(text: str) -> dict[str, str]:
    """The lines NAME=VALUE of a file as Compose reads it: without quotes, and without comments after a value."""
    found = re.findall(r"^\s*([A-Za-z_]\w*)\s*=[ \t]*(\"[^\"]*\"|'[^']*'|.*?)(?:\s+#.*|\s*)$", text, re.MULTILINE)
    return {name: value.strip("\"'") for name, value in found}


CHECKS: Final[Mapping[str, Callable[[Settings], str]]] = {
    "model files": model_files,
    "inference": inference,
    "ports": ports,
    "shared memory": shared_memory,
    "memory": memory,
    "keys and TLS": protection,
    "Compose: files": compose_files,
    "Compose: gateway": compose_gateway,
    "Compose: GPU": gpu,
}
"""Each returns what it found, or raises Skipped, or an error whose message says what to do."""


def doctor(settings: Settings) -> int:
    """Prints a line for each check. Returns the exit status: 1 where something must be done."""
    status = 0
    for name, check in CHECKS.items():
        try:
            verdict, text = "ok", check(settings)
        except Skipped as skipped:
            verdict, text = "-", str(skipped)
        except (Problem, StartError, SecurityError, EmbeddedTritonError, RepositoryError, OSError) as error:
            verdict, text, status = "TO DO", str(error), 1
        sys.stdout.write(f"{verdict:6}{name:18}{' '.join(text.split())}\n")
    return status
