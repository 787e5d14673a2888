"""A model's process that dies or hangs: its Triton is found out and replaced, with real processes and real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from service.detectors.backends import TritonDetectorBackend
from service.detectors.network import NetworkDetector
from service.engines.triton import endpoint
from service.engines.triton.engine import TritonEngine
from service.readiness import Readiness
from service.triton_server.process import EmbeddedTriton
from service.triton_server.supervisor import TritonSupervisor

pytestmark = [pytest.mark.usefixtures("needs_triton"), pytest.mark.anyio]


class Service(NamedTuple):
    supervisor: TritonSupervisor
    readiness: Readiness
    started: list[EmbeddedTriton]

    @property
    def folder(self) -> Path:
        """Of the Triton that runs now."""
        folder = self.started[-1].folder
        assert folder is not None
        return folder


@pytest.fixture(scope="module")
async def service(needs_triton: None, model_repository: Path, anyio_backend: str) -> AsyncIterator[Service]:
    """Supervisor, engine and detector as `service.bootstrap` composes them. They wait less long."""
    started: list[EmbeddedTriton] = []

    def make() -> EmbeddedTriton:
        started.append(EmbeddedTriton(model_repository))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as executor:
        patch.setattr(endpoint, "VERIFY_INTERVAL", 0.5)
        supervisor = TritonSupervisor(make, initial_backoff=0.1, hang_timeout=4.0)
        engine = TritonEngine(supervisor)
        supervisor.set_health_probe(lambda: engine.endpoints > 0)
        try:
            await supervisor.start()
            await engine.start()
            detector = NetworkDetector(TritonDetectorBackend(engine), executor)
            await detector.start()
            yield Service(supervisor, Readiness(engine, detector, max_age=0.0), started)
        finally:
            await engine.close()
            await supervisor.stop()


def stub_of(model: str, folder: Path) -> int:
    """The process of a model of the Triton that has this folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        named = [word for word in words if word.endswith(f"/{model}/1/model.py")]
        if named and any(folder.name in word for word in words):
            return int(path.parent.name)
    raise AssertionError(f"{model} has no process")


async def until_ready(service: Service, ready: bool) -> None:
    end = time.monotonic() + 300
    while await service.readiness.check() is not ready:
        assert time.monotonic() < end, "timed out"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
@pytest.mark.parametrize("model", ["heatmap", "decode", "detector"])
async def test_a_model_that_does_not_answer_is_noticed_without_requests_and_its_triton_is_replaced(
    service: Service, model: str, number: signal.Signals
) -> None:
    await until_ready(service, True)
    folder = service.folder
    os.kill(stub_of(model, folder), number)
    await until_ready(service, False)
    await until_ready(service, True)
    assert service.folder != folder
    assert not folder.exists()
    assert list(Path("/dev/shm").glob(f"{folder.name}*")) == []
