"""What restarts and crashes cost those who ask, on a real Docker engine; what each cost is printed."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable

import grpc
import httpx
import pytest

from landmarks_client.pb import landmarks_pb2_grpc
from tests.containers.engine import DOCKER, crash, docker, health, inspect, wait_for, wait_until_healthy
from tests.containers.load import ask_grpc, ask_rest, load
from tests.containers.service import Service

pytestmark = pytest.mark.timeout(1800)

# what an attempt may come to while something is down; see "What a restart costs" in docs/deploy/measurements.md
TOLD_BY_TRITON = {"ok", "unavailable", "internal"}
TOLD_BY_GATEWAY = {"ok", "refused", "broken"}

STUB = "triton_python_backend_stub"
"""The process of a model in the Python backend."""


def test_requests_in_flight_are_answered_while_the_gateway_stops(service: Service, tell: Callable[[str], None]) -> None:
    held = Held(service, count=6)
    gateway = service.gateway
    stopping = subprocess.Popen([DOCKER, "stop", "--time", "60", gateway], stdout=subprocess.DEVNULL)
    wait_for(lambda: is_closed(service.url), "the gateway to take no more requests")
    held.let_go()
    outcomes = held.outcomes()
    assert stopping.wait(90) == 0
    assert inspect(gateway)["State"]["ExitCode"] == 0
    docker("start", gateway)
    service.project.wait_until_healthy()
    tell(f"gateway stopped, 6 requests in flight: {dict(outcomes)}")
    assert outcomes == {"ok": 6}


def test_requests_in_flight_are_told_when_triton_is_killed(service: Service, tell: Callable[[str], None]) -> None:
    held = Held(service, count=6)
    docker("kill", service.triton)
    outcomes = held.outcomes()
    docker("start", service.triton)
    service.project.wait_until_healthy()
    tell(f"Triton killed, 6 requests in flight: {dict(outcomes)}")
    assert outcomes.total() == 6
    assert set(outcomes) <= {"ok", "unavailable"}


EVENTS: dict[str, tuple[Callable[[Service], object], set[str]]] = {
    "Triton restarted": (lambda service: docker("restart", service.triton), TOLD_BY_TRITON),
    "Triton crashed": (lambda service: crash(service.triton, "tritonserver"), TOLD_BY_TRITON),
    "a model crashed": (lambda service: crash(service.triton, STUB), TOLD_BY_TRITON),
    "gateway restarted": (lambda service: docker("restart", service.gateway), TOLD_BY_GATEWAY),
    "gateway crashed": (lambda service: crash(service.gateway, "landmarks"), TOLD_BY_GATEWAY),
}


@pytest.mark.parametrize("event", EVENTS)
def test_who_asks_again_is_answered_rightly(service: Service, event: str, tell: Callable[[str], None]) -> None:
    act, allowed = EVENTS[event]
    service.project.wait_until_healthy()
    with load(service.rest, service.rpc) as running:
        running.wait_for_answers(20)
        act(service)
        running.wait_for_answers(40)
    tell(f"{event}: attempts {dict(running.outcomes)}, requests never answered {running.unanswered}")
    assert running.unanswered == 0
    assert set(running.outcomes) <= allowed


def test_a_second_triton_takes_over(service: Service, tell: Callable[[str], None]) -> None:
    service.project.run("up", "-d", "--scale", "triton=2")
    service.project.wait_until_healthy()
    first, second = service.project.containers("triton")
    docker("restart", "--time", "30", service.gateway)
    service.project.wait_until_healthy()
    with load(service.rest, service.rpc) as running:
        for victim, other in ((first, second), (second, first)):
            running.wait_for_answers(20)
            docker("kill", victim)
            running.wait_for_answers(20)
            assert not inspect(victim)["State"]["Running"]
            docker("start", victim)
            wait_until_healthy(victim)
            assert health(other) == "healthy"
    tell(f"each of two Tritons killed in turn: attempts {dict(running.outcomes)}")
    service.project.run("up", "-d", "--scale", "triton=1")
    assert running.unanswered == 0
    assert set(running.outcomes) <= TOLD_BY_TRITON


class Held:
    """Requests that the gateway has accepted and Triton does not answer yet, half of them over REST and half over gRPC.

    The processes of its models are paused, not Triton itself: a Triton that is silent altogether is soon given up.
    """

    def __init__(self, service: Service, count: int) -> None:
        service.project.wait_until_healthy()
        self._triton = service.triton
        crash(self._triton, STUB, by="SIGSTOP")
        self._outcomes: list[str] = []
        self._channel = grpc.insecure_channel(f"127.0.0.1:{service.rpc}")
        stub = landmarks_pb2_grpc.LandmarksStub(self._channel)
        asks = [lambda: ask_rest(service.url), lambda: ask_grpc(stub)] * (count // 2)
        self._threads = [threading.Thread(target=lambda ask=ask: self._outcomes.append(ask())) for ask in asks]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: service.in_flight() == count, "the requests to be accepted", 25)

    def let_go(self) -> None:
        crash(self._triton, STUB, by="SIGCONT")

    def outcomes(self) -> Counter[str]:
        for thread in self._threads:
            thread.join()
        self._channel.close()
        return Counter(self._outcomes)


def is_closed(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return True
    return False
