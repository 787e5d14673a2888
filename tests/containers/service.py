"""The service in containers: its images, and its Compose project."""

from __future__ import annotations

import os
import re

from tests.containers.engine import Project, docker

TAG = "test-containers"
GATEWAY, TRITON = f"h3r-landmarks/gateway:{TAG}", f"h3r-landmarks/triton-cpu:{TAG}"
BASE_IMAGE = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")
PROMETHEUS = "h3r-landmarks/prometheus-stand-in"


class Service:
    """The running project."""

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
