"""Requests while a Triton is killed, paused or loses a model's process: real processes, real signals."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from landmarks.golden import golden_crop
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.rpc.errors import CODE_KEY
from service.triton_server.process import EmbeddedTriton, free_ports
from tests.e2e.test_gateway import Served, descendants, served
from tests.fakes import encoded

pytestmark = pytest.mark.usefixtures("needs_triton")

IMAGE = encoded(golden_crop(), ".jpg")
BOX = (60.5, 22.25, 199.0, 211.75)
TIMEOUT = 120


class Tritons:
    """Two real servers, which keep their addresses when they are started again."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self.ports = free_ports(2)
        self._running: dict[int, EmbeddedTriton] = {}

    @property
    def url(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    async def start(self, *numbers: int) -> None:
        """Starts those that do not run."""
        missing = [number for number in numbers if number not in self._running]
        started = [EmbeddedTriton(self._repository, port=self.ports[number]) for number in missing]
        await asyncio.gather(*(triton.start() for triton in started))
        self._running.update(zip(missing, started, strict=True))

    def kill(self, number: int) -> None:
        os.kill(self.pid(number), signal.SIGKILL)
        asyncio.run(self._running.pop(number).stop())

    @contextmanager
    def paused(self, number: int) -> Iterator[None]:
        pid = self.pid(number)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def pid(self, number: int) -> int:
        """The process of the server itself, which its watchdog started."""
        wanted = f"--grpc-port={self.ports[number]}"
        commands = {pid: words(pid) for pid in descendants(os.getpid())}
        return next(
            pid for pid, command in commands.items() if wanted in command and command[0].endswith("tritonserver")
        )

    async def stop(self) -> None:
        await asyncio.gather(*(triton.stop() for triton in self._running.values()))


def words(pid: int) -> list[str]:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.fixture(scope="module")
def tritons(needs_triton: None, model_repository: Path) -> Iterator[Tritons]:
    two = Tritons(model_repository)
    asyncio.run(two.start(0, 1))
    yield two
    asyncio.run(two.stop())


@pytest.fixture(scope="module")
def gateway(tritons: Tritons) -> Iterator[Served]:
    with served(triton_url=tritons.url, max_in_flight=8, log_level="warning") as running:
        running.read_announcement()
        yield running


@pytest.fixture
def both(tritons: Tritons, gateway: Served) -> Tritons:
    """Both Tritons run, and the gateway uses both."""
    asyncio.run(tritons.start(0, 1))
    until(lambda: metric(gateway, "landmarks_triton_endpoints") == 2)
    return tritons


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def fetch(
    service: Served, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body, over a new connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.rest, timeout=TIMEOUT)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()


def metric(service: Served, name: str) -> float:
    """The value of a metric, summed over its labels; zero while it is missing."""
    lines = fetch(service, "GET", "/metrics")[1].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def rest_code(service: Served, timeout: float | None = None) -> str:
    """ "ok", or the code of the problem, over REST."""
    headers = {"X-Request-Timeout": str(timeout)} if timeout else {}
    _, body = fetch(service, "POST", "/v1/landmarks?box=" + ",".join(map(str, BOX)), IMAGE, headers)
    return str(json.loads(body).get("code", "ok"))


def grpc_code(service: Served) -> str:
    """The same over gRPC."""
    x1, y1, x2, y2 = BOX
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc}") as channel:
        try:
            request = pb.DetectRequest(image=IMAGE, boxes=[pb.Box(x1=x1, y1=y1, x2=x2, y2=y2)])
            landmarks_pb2_grpc.LandmarksStub(channel).Detect(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return str(dict(error.trailing_metadata()).get(CODE_KEY, error.code()))
    return "ok"


def is_ready(service: Served) -> tuple[bool, bool]:
    """Readiness over REST and over gRPC."""
    rest = fetch(service, "GET", "/readyz")[0] == 200
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    return rest, answer.status == health_pb2.HealthCheckResponse.SERVING


class Load:
    """Clients that send the next request as soon as they have an answer, half of them to each API."""

    def __init__(self, service: Served, clients: int = 4) -> None:
        self.answers: Counter[str] = Counter()
        self._service = service
        self._clients = clients
        self._stop = threading.Event()

    def __enter__(self) -> Load:
        self._threads = ThreadPoolExecutor(self._clients)
        self._running = [self._threads.submit(self._run, number) for number in range(self._clients)]
        self.wait_for_answers(2 * self._clients)
        return self

    def wait_for_answers(self, count: int) -> None:
        """Waits for so many more answers."""
        goal = self.answers.total() + count
        until(lambda: self.answers.total() >= goal or any(client.done() for client in self._running))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._running:
            client.result()
        self._threads.shutdown()

    def _run(self, number: int) -> None:
        request = rest_code if number % 2 else grpc_code
        while not self._stop.is_set():
            answer = request(self._service)
            self.answers[answer] += 1


def test_a_paused_triton_loses_no_request_and_comes_back(gateway: Served, both: Tritons) -> None:
    with Load(gateway) as load:
        with both.paused(0):
            until(lambda: metric(gateway, "landmarks_triton_endpoints") == 1)
            load.wait_for_answers(8)
            assert is_ready(gateway) == (True, True)
        until(lambda: metric(gateway, "landmarks_triton_endpoints") == 2)
        load.wait_for_answers(8)
    assert set(load.answers) == {"ok"}
    assert metric(gateway, "landmarks_triton_retries_total") > 0


def test_a_deadline_holds_while_triton_is_slow(gateway: Served, both: Tritons) -> None:
    with both.paused(0), both.paused(1):
        assert rest_code(gateway, timeout=0.5) == "deadline_exceeded"
    # a client with a longer deadline gets its answer: a short pause is not a failure
    with ThreadPoolExecutor(1) as thread:
        with both.paused(0), both.paused(1):
            answer = thread.submit(rest_code, gateway)
            until(lambda: metric(gateway, "landmarks_in_flight") == 1)
        assert answer.result() == "ok"


def test_overload_is_rejected_and_nothing_hangs(gateway: Served, both: Tritons) -> None:
    with ThreadPoolExecutor(32) as threads:
        answers = Counter(threads.map(lambda number: (rest_code, grpc_code)[number % 2](gateway), range(64)))
    assert set(answers) == {"ok", "overloaded"}
    assert answers.total() == 64
    assert metric(gateway, "landmarks_in_flight") == 0
    assert rest_code(gateway) == "ok"


def test_a_killed_triton_loses_no_request_and_without_any_requests_fail_at_once(gateway: Served, both: Tritons) -> None:
    with Load(gateway) as load:
        both.kill(0)
        load.wait_for_answers(20)
    assert set(load.answers) == {"ok"}
    both.kill(1)
    # long before the deadline of half a minute, which would give another code
    assert [rest_code(gateway), grpc_code(gateway)] == ["unavailable", "unavailable"]
    until(lambda: is_ready(gateway) == (False, False))
    asyncio.run(both.start(1))
    until(lambda: is_ready(gateway) == (True, True))
    assert [rest_code(gateway), grpc_code(gateway)] == ["ok", "ok"]


def test_an_embedded_triton_whose_model_has_died_is_restarted() -> None:
    with served(log_level="warning") as running:
        running.read_announcement()
        family = {pid: words(pid) for pid in descendants(running.process.pid)}
        (stub,) = [
            pid for pid, command in family.items() if any(word.endswith("/decode/1/model.py") for word in command)
        ]
        assert is_ready(running) == (True, True)
        os.kill(stub, signal.SIGKILL)
        until(lambda: is_ready(running) == (False, False))
        assert rest_code(running) == "unavailable"
        until(lambda: is_ready(running) == (True, True))
        assert [rest_code(running), grpc_code(running)] == ["ok", "ok"]
        status, errors = running.stop(signal.SIGTERM)
        assert status == 0
        assert "E watchdog: a model's process has died, so Triton is killed" in errors
        assert "Triton exited by itself, with status 70; it is restarted" in errors
        assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
