"""Descriptors: the limits derived from them, and a process that has few, with more clients than it can hold."""

from __future__ import annotations

import logging
import re
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.open_files import METRICS_CONNECTIONS, RESERVED, connection_limits
from service.rest.listener import ConnectionLimits
from tests.conftest import ROOT

PROGRAM = """
import asyncio, contextlib, sys
from service import server
from service.settings import Settings
from tests.fakes import FakeDetector, FakeEngine, make_gateway

@contextlib.asynccontextmanager
async def running_gateway(settings):
    yield make_gateway(FakeEngine(), FakeDetector())

server.running_gateway = running_gateway
asyncio.run(server.serve(Settings(port=0, grpc_port=0, metrics_port=0, grace=0)))
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def ports(log: Path) -> Iterator[dict[str, int]]:
    """REST, gRPC and metrics of a process that may open 256 files, its soft limit 200."""
    command = f"ulimit -S -n 200; ulimit -H -n 256; exec {shlex.join([sys.executable, '-c', PROGRAM])}"
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        announced = ""
        while "try " not in announced:
            line = process.stdout.readline()
            assert line, log.read_text()
            announced += line
        yield {
            name: int(port)
            for name, port in re.findall(r"^  (REST|gRPC|metrics)  \S*?:(\d+)(?:\s|/|$)", announced, re.M)
        }
    finally:
        process.kill()
        process.communicate()


def health(port: int) -> int:
    with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as response:
        return int(response.status)


def test_more_idle_clients_than_files_silence_neither_api_nor_the_metrics(ports: dict[str, int], log: Path) -> None:
    assert set(ports) == {"REST", "gRPC", "metrics"}
    with ExitStack() as stack:
        for port in ports.values():
            for _ in range(300):
                with suppress(ConnectionError):
                    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
                    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" if port != ports["gRPC"] else b"")
        for _ in range(3):
            assert health(ports["metrics"]) == health(ports["REST"]) == 200
        with urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=30) as response:
            metrics = dict(re.findall(r"^(process_\w+) (\S+)$", response.read().decode(), re.M))
        with grpc.insecure_channel(f"127.0.0.1:{ports['gRPC']}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            # gRPC refuses connections until the idle ones have been closed
            assert stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=120).status == 1
    assert float(metrics["process_max_fds"]) == 256
    assert float(metrics["process_open_fds"]) < 256
    assert log.stat().st_size < 100_000


def test_the_limits_leave_what_is_reserved(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert connection_limits(1000, 500, 2 * 1000 + RESERVED) == ConnectionLimits(1000, 500)
    assert connection_limits(10, 500, 65_536) == ConnectionLimits(10, 10)
    assert caplog.messages == []
    assert connection_limits(1000, 500, 256) == ConnectionLimits(64, 32)
    assert connection_limits(1000, 500, 20) == ConnectionLimits(1, 1)
    assert "at most 256 files" in caplog.messages[0]
    assert METRICS_CONNECTIONS.total < RESERVED < resource.getrlimit(resource.RLIMIT_NOFILE)[1]
