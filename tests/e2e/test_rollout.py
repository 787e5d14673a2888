"""The rollout of a new model beside the old one, up to its promotion: real processes, under load."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from landmarks.repository import model_path, stamp
from landmarks.runtime import identify
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.rpc.errors import CODE_KEY
from service.triton_server.process import EmbeddedTriton, free_ports
from tests.e2e.test_faults import BOX, IMAGE, TIMEOUT, Load, fetch, is_ready, metric, until, words
from tests.e2e.test_gateway import Served, descendants, served

OLD, NEW = "compact_deep", "compact_next"


@pytest.fixture(scope="module")
def next_repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped repository under another name and with larger crops, so that its points differ."""
    repository = Path(shutil.copytree(model_repository, tmp_path_factory.mktemp("next") / "model_repo"))
    path = model_path(repository)
    content = path.read_bytes()
    for old, new in (
        (b'"crop_scale": 1.25', b'"crop_scale": 1.45'),
        (b'"name": "compact_deep"', b'"name": "compact_next"'),
    ):
        assert (content.count(old), len(old)) == (1, len(new))
        content = content.replace(old, new)
    path.write_bytes(content)
    stamp(repository, identify(path)[0])
    return repository


def rest_model(service: Served, model: str = "") -> str:
    """The name of the model that answered over REST, or the code of the problem."""
    query = "box=" + ",".join(map(str, BOX)) + (f"&model={model}" if model else "")
    body = json.loads(fetch(service, "POST", f"/v1/landmarks?{query}", IMAGE)[1])
    return str(body.get("code") or body["model"]["name"])


def grpc_model(service: Served) -> str:
    """The same over gRPC."""
    x1, y1, x2, y2 = BOX
    with grpc.insecure_channel(f"127.0.0.1:{service.rpc}") as channel:
        try:
            request = pb.DetectRequest(image=IMAGE, boxes=[pb.Box(x1=x1, y1=y1, x2=x2, y2=y2)])
            answer = landmarks_pb2_grpc.LandmarksStub(channel).Detect(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return str(dict(error.trailing_metadata()).get(CODE_KEY, error.code()))
    return str(answer.model.name)


def names(service: Served) -> list[str]:
    return [model["name"] for model in json.loads(fetch(service, "GET", "/v1/models")[1])["models"]]


class Canary:
    """A gateway with the shipped model, a candidate in a Triton of its own, and the file with the candidate's share."""

    def __init__(self, gateway: Served, share: Path, repository: Path, port: int) -> None:
        self.gateway = gateway
        self._share = share
        self._repository = repository
        self._port = port
        self._triton: EmbeddedTriton | None = None

    def set_share(self, share: float) -> None:
        """Replaces the file, as the update of a mounted ConfigMap does."""
        fresh = self._share.with_suffix(".new")
        fresh.write_text(f"{share}\n")
        fresh.replace(self._share)
        until(lambda: metric(self.gateway, "landmarks_candidate_share") == share)

    def start(self) -> None:
        """Starts the candidate unless it runs, and waits until the gateway uses it."""
        if self._triton is None:
            self._triton = EmbeddedTriton(self._repository, port=self._port)
            asyncio.run(self._triton.start())
        until(lambda: names(self.gateway) == [OLD, NEW] and rest_model(self.gateway, NEW) == NEW)

    def kill(self) -> None:
        commands = {pid: words(pid) for pid in descendants(os.getpid())}
        wanted = f"--grpc-port={self._port}"
        os.kill(next(p for p, c in commands.items() if wanted in c and c[0].endswith("tritonserver")), signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        triton, self._triton = self._triton, None
        if triton is not None:
            asyncio.run(triton.stop())


@pytest.fixture(scope="module")
def running(triton_url: str, next_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    share = tmp_path_factory.mktemp("share") / "candidate"
    share.write_text("0\n")
    (port,) = free_ports(1)
    candidate = {"candidate_url": f"127.0.0.1:{port}", "candidate_share_file": share, "compare_share": 1}
    with served(triton_url=triton_url, log_level="warning", **candidate) as gateway:
        gateway.read_announcement()
        assert names(gateway) == [OLD]  # it serves without the candidate, which does not run yet
        assert is_ready(gateway) == (True, True)
        assert rest_model(gateway, NEW) == "unavailable"
        canary = Canary(gateway, share, next_repository, port)
        yield canary
        canary.stop()


@pytest.fixture
def canary(running: Canary) -> Canary:
    """Both models run, and the candidate has no share."""
    running.start()
    running.set_share(0)
    return running


class NamingLoad(Load):
    """Counts the models that answered."""

    def _run(self, number: int) -> None:
        request = rest_model if number % 2 else grpc_model
        while not self._stop.is_set():
            self.answers[request(self._service)] += 1


def test_both_models_are_served_side_by_side_and_compared(canary: Canary) -> None:
    gateway = canary.gateway
    before = metric(gateway, "landmarks_model_distance_count"), metric(gateway, "landmarks_model_distance_sum")
    assert [rest_model(gateway), rest_model(gateway, OLD), rest_model(gateway, NEW), grpc_model(gateway)] == [
        OLD,
        OLD,
        NEW,
        OLD,
    ]
    status, body = fetch(gateway, "POST", "/v1/landmarks?model=compact_last", IMAGE)
    assert (status, json.loads(body)["code"]) == (404, "unknown_model")
    assert f"there is '{OLD}' and '{NEW}'" in json.loads(body)["detail"]
    until(lambda: metric(gateway, "landmarks_model_distance_count") > before[0])
    faces = metric(gateway, "landmarks_model_distance_count") - before[0]
    mean = (metric(gateway, "landmarks_model_distance_sum") - before[1]) / faces
    assert 0.001 < mean < 0.3  # the same network, on crops of other sizes


def test_a_candidate_is_promoted_and_rolled_back_without_losing_a_request(canary: Canary) -> None:
    gateway = canary.gateway
    with NamingLoad(gateway) as load:
        assert set(load.answers) == {OLD}
        canary.set_share(1)
        assert [rest_model(gateway) for _ in range(4)] == [NEW] * 4
        load.wait_for_answers(8)
        canary.set_share(0.5)
        until(lambda: rest_model(gateway) == OLD)
        canary.set_share(0)
        assert [rest_model(gateway) for _ in range(4)] == [OLD] * 4
        load.wait_for_answers(8)
    assert set(load.answers) == {OLD, NEW}


def test_a_candidate_that_is_killed_loses_no_request_and_comes_back(canary: Canary) -> None:
    gateway = canary.gateway
    canary.set_share(1)
    before = metric(gateway, "landmarks_candidate_fallbacks_total")
    with NamingLoad(gateway) as load:
        assert set(load.answers) == {NEW}
        canary.kill()
        load.wait_for_answers(8)
        assert [rest_model(gateway), rest_model(gateway, NEW)] == [OLD, "unavailable"]
        assert is_ready(gateway) == (True, True)
        canary.start()
        until(lambda: rest_model(gateway) == NEW)
    assert set(load.answers) == {OLD, NEW}
    assert metric(gateway, "landmarks_candidate_fallbacks_total") > before


def test_the_gateway_starts_a_second_triton_for_a_candidate(needs_triton: None, next_repository: Path) -> None:
    with served(candidate_repository=next_repository, candidate_share=1, log_level="warning") as gateway:
        gateway.read_announcement()
        assert rest_model(gateway) in (OLD, NEW)
        until(lambda: rest_model(gateway) == NEW)
        family = descendants(gateway.process.pid)
        assert sum(words(pid)[0].endswith("tritonserver") for pid in family) == 2
        status, errors = gateway.stop(signal.SIGTERM)
        assert (status, "Traceback" in errors) == (0, False)
        assert [pid for pid in family if Path(f"/proc/{pid}").exists()] == []


def test_without_triton_two_models_run_in_this_process(next_repository: Path) -> None:
    with served(engine="local", candidate_repository=next_repository, candidate_share=1) as gateway:
        gateway.read_announcement()
        until(lambda: rest_model(gateway) == NEW)
        assert rest_model(gateway, OLD) == OLD


def test_a_candidate_that_answers_wrongly_gets_no_requests(repository_with_wrong_weights: Path) -> None:
    wrong = {"candidate_repository": repository_with_wrong_weights, "candidate_share": 1}
    with served(engine="local", log_level="warning", **wrong) as gateway:
        gateway.read_announcement()
        assert gateway.process.stderr is not None
        assert any(
            "the candidate is not up yet: the golden crop is answered" in line for line in gateway.process.stderr
        )
        assert rest_model(gateway) == OLD
        assert names(gateway) == [OLD]
