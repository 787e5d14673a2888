"""What restarts and crashes cost clients, on a real Docker engine. The costs are printed."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import httpx
import pytest

from landmarks_client.pb import landmarks_pb2_grpc
from tests.containers.engine import DOCKER, crash, docker, health, inspect, wait_for, wait_until_healthy
from tests.containers.load import load, request_grpc, request_rest
from tests.containers.service import Service

pytestmark = pytest.mark.timeout(1800)

# possible outcomes of an attempt while one of them is down; see docs/deploy/measurements.md, "What a restart costs"
WITHOUT_TRITON = {"ok", "unavailable", "internal"}
WITHOUT_GATEWAY = {"ok", "refused", "broken"}

SERVER = "tritonserver"
STUB = "triton_python_backend_stub"
"""The process of a model in the Python backend."""


def test_requests_in_flight_are_answered_while_the_gateway_stops(
    service: Service, report: Callable[[str], None]
) -> None:
    gateway = service.gateway
    with requests_in_flight(service, count=6) as requests:
        stopping = subprocess.Popen([DOCKER, "stop", "--time", "60", gateway], stdout=subprocess.DEVNULL)
        wait_for(lambda: is_closed(service.url), "the gateway to take no more requests")
        requests.resume()
        outcomes = requests.outcomes()
    assert stopping.wait(90) == 0
    assert inspect(gateway)["State"]["ExitCode"] == 0
    docker("start", gateway)
    service.project.wait_until_healthy()
    report(f"gateway stopped, 6 requests in flight: {dict(outcomes)}")
    assert outcomes == {"ok": 6}


def test_requests_in_flight_fail_as_unavailable_when_triton_is_killed(
    service: Service, report: Callable[[str], None]
) -> None:
    with requests_in_flight(service, count=6) as requests:
        docker("kill", service.triton)
        outcomes = requests.outcomes()
    docker("start", service.triton)
    service.project.wait_until_healthy()
    report(f"Triton killed, 6 requests in flight: {dict(outcomes)}")
    assert outcomes.total() == 6
    assert set(outcomes) <= {"ok", "unavailable"}


EVENTS: dict[str, tuple[Callable[[Service], object], set[str]]] = {
    "Triton restarted": (lambda service: docker("restart", service.triton), WITHOUT_TRITON),
    "Triton crashed": (lambda service: crash(service.triton, SERVER), WITHOUT_TRITON),
    "a model crashed": (lambda service: crash(service.triton, STUB), WITHOUT_TRITON),
    # the watchdog ends the container, and Docker starts it again
    "a model hung": (lambda service: crash(service.triton, STUB, by="SIGSTOP"), WITHOUT_TRITON),
    "gateway restarted": (lambda service: docker("restart", service.gateway), WITHOUT_GATEWAY),
    "gateway crashed": (lambda service: crash(service.gateway, "landmarks"), WITHOUT_GATEWAY),
}


@pytest.mark.parametrize("event", EVENTS)
def test_a_client_that_retries_gets_the_right_answer(
    service: Service, event: str, report: Callable[[str], None]
) -> None:
    act, allowed = EVENTS[event]
    service.project.wait_until_healthy()
    with load(service.rest, service.rpc) as running:
        running.wait_for_answers(20)
        act(service)
        running.wait_for_answers(40)
    report(f"{event}: attempts {dict(running.outcomes)}, requests never answered {running.unanswered}")
    assert running.unanswered == 0
    assert set(running.outcomes) <= allowed


def test_a_second_triton_takes_over(service: Service, report: Callable[[str], None]) -> None:
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
    report(f"each of two Tritons killed in turn: attempts {dict(running.outcomes)}")
    service.project.run("up", "-d", "--scale", "triton=1")
    assert running.unanswered == 0
    assert set(running.outcomes) <= WITHOUT_TRITON


class RequestsInFlight:
    """Requests to a Triton that is paused, half of them to each API.

    Triton itself is paused, not its models: it takes a model for dead that does not move for a second, while the
    gateway waits five seconds for the answer to a probe.
    """

    def __init__(self, service: Service, count: int) -> None:
        self._service, self._count = service, count
        self._triton = service.triton
        self._outcomes: list[str] = []
        crash(self._triton, SERVER, by="SIGSTOP")
        self._channel = grpc.insecure_channel(f"127.0.0.1:{service.rpc}")
        stub = landmarks_pb2_grpc.LandmarksStub(self._channel)
        requests = [lambda: request_rest(service.url), lambda: request_grpc(stub)] * (count // 2)
        self._threads = [threading.Thread(target=lambda send=send: self._outcomes.append(send())) for send in requests]
        for thread in self._threads:
            thread.start()

    def are_accepted(self) -> bool:
        """Waits until the gateway has accepted all of them; False when it has answered one meanwhile."""
        wait_for(
            lambda: bool(self._outcomes) or self._service.in_flight() == self._count, "the requests to be accepted"
        )
        return not self._outcomes

    def resume(self) -> None:
        if inspect(self._triton)["State"]["Running"]:
            crash(self._triton, SERVER, by="SIGCONT")

    def outcomes(self) -> Counter[str]:
        """Waits for all answers."""
        for thread in self._threads:
            thread.join()
        self._channel.close()
        return Counter(self._outcomes)


@contextmanager
def requests_in_flight(service: Service, count: int, attempts: int = 5) -> Iterator[RequestsInFlight]:
    """Requests that the gateway has accepted, and that Triton does not answer yet.

    On a busy machine the gateway may give up the paused Triton before it has accepted all of them: then they are sent
    again.
    """
    for _ in range(attempts):
        service.project.wait_until_healthy()
        requests = RequestsInFlight(service, count)
        try:
            if requests.are_accepted():
                yield requests
                return
        finally:
            requests.resume()
            outcomes = requests.outcomes()
    raise AssertionError(f"the requests were answered while Triton was paused: {dict(outcomes)}")


def is_closed(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return True
    return False
