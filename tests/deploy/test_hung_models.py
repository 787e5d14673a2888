"""What the images do about a model that hangs or dies: the entry point, its watchdog and its health check."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import ClassVar

import pytest

from service.triton_server.process import free_ports
from service.triton_server.watchdog import BACKEND_DIED, NOT_LISTENING
from tests.deploy.entry_point import container
from tests.deploy.tools import DEPLOY


@pytest.mark.parametrize(
    ("model", "number"),
    [
        ("heatmap", signal.SIGSTOP),
        ("decode", signal.SIGSTOP),
        ("detector", signal.SIGSTOP),
        ("detector", signal.SIGKILL),
    ],
)
@pytest.mark.timeout(900)
def test_a_model_that_does_not_answer_ends_the_container(
    needs_triton: None, model_repository: Path, tmp_path: Path, model: str, number: signal.Signals
) -> None:
    with container(tmp_path, model_repository, hung_after=10) as running:
        # right after the first answer: the watchdog itself need not have seen one
        stub = running.stub(model)
        os.kill(stub, number)
        assert running.process.wait(600) == BACKEND_DIED
    reason = "no answer for 10 s" if number == signal.SIGSTOP else "a model's process has died"
    assert f"E watchdog: {reason}" in running.log
    assert has_ended(stub)


def has_ended(pid: int) -> bool:
    """Waits until a process that was killed is gone, or a zombie, which it may stay where nobody waits for orphans."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


# ---------------------------------------------------------------- the health check, with a double of Triton


class Double(BaseHTTPRequestHandler):
    """Serves the network and the detector over HTTP as Triton does."""

    answered: ClassVar[dict[str, int]] = {}
    hangs: ClassVar[dict[str, Event]] = {}
    full: ClassVar[set[str]] = set()
    works_on_others: ClassVar[set[str]] = set()
    served: ClassVar[set[str]] = set()
    bodies: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        _, _, _, model, *rest = self.path.split("/")
        if model not in self.served:
            return self.reply(404, {"error": "unknown model"})
        if rest == ["config"]:
            inputs = {
                "landmarks": [{"name": "crops", "dims": [64, 64, 3]}],
                "detector": [{"name": "describe", "dims": [1]}, {"name": "image", "dims": ["-1", "-1", "3"]}],
            }
            return self.reply(200, {"input": inputs[model]})
        if rest == ["stats"]:
            self.answered[model] += model in self.works_on_others
            return self.reply(200, {"model_stats": [{"inference_stats": {"success": {"count": self.answered[model]}}}]})
        return self.reply(200, {})

    def do_POST(self) -> None:
        model = self.path.split("/")[3]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies[model] = body[int(self.headers["Inference-Header-Content-Length"]) :]
        if model in self.hangs:
            self.hangs[model].wait()
        if model in self.full:
            return self.reply(503, {"error": "Exceeds maximum queue size"})
        self.answered[model] += 1
        return self.reply(200, {})

    def reply(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[str]:
    Double.answered = {"landmarks": 5, "detector": 5}
    Double.served = {"landmarks", "detector"}
    Double.hangs, Double.full, Double.works_on_others, Double.bodies = {}, set(), set(), {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Double) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        for gate in Double.hangs.values():
            gate.set()
        server.shutdown()


@pytest.fixture
def check(tmp_path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("triton_answers", DEPLOY / "image/triton_answers.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    golden = tmp_path / "golden.rgb"
    golden.write_bytes(bytes(range(256)) * 768)
    vars(module).update(GOLDEN=golden, TIMEOUT=0.5)
    return module


def test_it_succeeds_when_network_and_detector_answer(port: str, check: ModuleType) -> None:
    assert check.main([port]) == 0
    assert len(Double.bodies["landmarks"]) == 64 * 64 * 3
    assert Double.bodies["detector"] == bytes(range(256)) * 768


def test_a_repository_without_a_detector_is_healthy_too(port: str, check: ModuleType) -> None:
    Double.served = {"landmarks"}
    assert check.main([port]) == 0


def test_without_the_network_it_fails(port: str, check: ModuleType) -> None:
    Double.served = {"detector"}
    assert check.main([port]) == 1


@pytest.mark.parametrize("model", ["landmarks", "detector"])
def test_a_model_that_hangs_fails(port: str, check: ModuleType, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Double.hangs[model] = Event()
    assert check.main([port]) == 1
    assert capsys.readouterr().err == f"{model}: no answer within 0.5 s\n"


@pytest.mark.parametrize("model", ["landmarks", "detector"])
def test_a_slow_model_that_answers_others_is_busy(port: str, check: ModuleType, model: str) -> None:
    Double.hangs[model] = Event()
    Double.works_on_others = {model}
    assert check.main([port]) == 0


def test_a_full_queue_is_healthy_only_while_it_moves(port: str, check: ModuleType) -> None:
    Double.full = {"landmarks"}
    assert check.main([port]) == 1
    Double.works_on_others = {"landmarks"}
    assert check.main([port]) == 0


def test_while_nothing_listens_it_fails_in_a_way_of_its_own(
    check: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    (closed,) = free_ports(1)
    assert check.main([str(closed)]) == NOT_LISTENING
    assert len(capsys.readouterr().err.splitlines()) == 1
