"""The Docker engine and Compose, as commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

DOCKER = os.environ.get("DOCKER", "docker")
FILES = ("-f", "docker-compose.yml", "-f", "deploy/compose.cpu.yml")


def docker(*arguments: str, check: bool = True) -> str:
    """The standard output of a docker command. A failure shows its standard error."""
    done = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    (described,) = json.loads(docker("inspect", name))
    return dict(described)


def composes() -> list[tuple[str, ...]]:
    """The Compose commands of this machine, COMPOSE first: 1.29 is docker-compose, 2 a plugin of docker."""
    named = os.environ.get("COMPOSE")
    found = [tuple(named.split())] if named else []
    if shutil.which("docker-compose"):
        found.append(("docker-compose",))
    if subprocess.run([DOCKER, "compose", "version"], capture_output=True, check=False).returncode == 0:
        found.append((DOCKER, "compose"))
    return found


def build(*targets: str, root: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs deploy/build.sh with these settings in addition to those of the environment."""
    command = ["deploy/build.sh", *targets]
    return subprocess.run(
        command, cwd=root, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )


class Project:
    """A Compose project with its own name and ports."""

    def __init__(self, command: tuple[str, ...], name: str, settings: dict[str, str]) -> None:
        self._command = [*command, "-p", name, *FILES]
        self._name = name
        self._environment = {**os.environ, **settings}

    def run(self, *arguments: str) -> str:
        command = [*self._command, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        labels = (f"com.docker.compose.project={self._name}", f"com.docker.compose.service={service}")
        return docker("ps", "-aq", *(part for label in labels for part in ("--filter", f"label={label}"))).split()

    def container(self, service: str) -> str:
        (only,) = self.containers(service)
        return only

    def wait_until_healthy(self) -> None:
        for service in ("triton", "gateway"):
            for container in self.containers(service):
                wait_until_healthy(container)


def health(container: str) -> str:
    state = inspect(container)["State"]
    return str(state["Health"]["Status"]) if state["Running"] else "stopped"


def wait_until_healthy(container: str) -> None:
    wait_for(lambda: health(container) == "healthy", f"{container} to be healthy")


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 240) -> None:
    """Polls, because an engine sends no event for such a change."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"timed out after {seconds:g} s, waiting for {what}"
        time.sleep(0.2)


def crash(container: str, program: str, by: str = "SIGKILL") -> None:
    """Kills every process in a container whose command line names a program, as the kernel does when memory runs out.

    `by`: the signal to send.
    """
    script = (
        "import os, signal, pathlib\n"
        "for process in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    words = (process / 'cmdline').read_text().split(chr(0))\n"
        f"    if any(word.endswith('/{program}') or word == '{program}' for word in words[:2]):\n"
        f"        os.kill(int(process.name), signal.{by})\n"
    )
    docker("exec", container, "python3", "-I", "-c", script)
