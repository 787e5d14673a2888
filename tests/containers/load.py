"""A steady load on both APIs that counts the outcomes of all requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import httpx

from landmarks.golden import golden_crop
from landmarks.repository import model_path
from landmarks.runtime import identify
from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from tests.conftest import ROOT
from tests.fakes import encoded

IMAGE = encoded(golden_crop())
BOX = (25.1, 25.1, 229.9, 229.9)
"""A fifth smaller than the image: with the network's crop scale of 1.25, the crop is the image itself."""
POINT_0 = identify(model_path(ROOT / "model_repo"))[0].golden_points[0]
"""The first point, as the shipped model's metadata state it."""

Outcome = str
"""ok, wrong, refused (no connection), broken (a connection that ended without an answer), or the error's code."""


def request_rest(url: str) -> Outcome:
    """One request over a new connection."""
    query = {"box": ",".join(map(str, BOX))}
    try:
        response = httpx.post(f"{url}/v1/landmarks", content=IMAGE, params=query, timeout=60)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return "refused"
    except httpx.TransportError:
        return "broken"
    if response.status_code != 200:
        return str(response.json().get("code", response.status_code))
    return compared(response.json()["faces"][0]["points"][0])


def request_grpc(stub: landmarks_pb2_grpc.LandmarksStub) -> Outcome:
    box = pb.Box(**dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True)))
    try:
        answer = stub.Detect(pb.DetectRequest(image=IMAGE, boxes=[box]), timeout=60)
    except grpc.RpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        if "landmarks-error-code" in trailing:
            return str(trailing["landmarks-error-code"])
        connecting = "failed to connect" in (error.details() or "").lower()
        return "refused" if connecting else "broken"
    return compared(answer.faces[0].points[:2])


def compared(point: list[float]) -> Outcome:
    near = all(abs(served - expected) <= 0.1 for served, expected in zip(point, POINT_0, strict=True))
    return "ok" if near else "wrong"


class Load:
    """Clients that send requests without a pause, and retry each until it is answered."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        """The outcomes of single attempts."""
        self.unanswered = 0
        """Requests for which no attempt got an answer."""
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._stop = threading.Event()

    def wait_for_answers(self, count: int, timeout: float = 120) -> None:
        """Waits until so many more requests have been answered."""
        with self._answered:
            wanted = self.outcomes["ok"] + count
            assert self._answered.wait_for(lambda: self.outcomes["ok"] >= wanted, timeout), f"only {self.outcomes}"

    def run(self, request: Callable[[], Outcome]) -> None:
        while not self._stop.is_set():
            if not self._until_answered(request):
                self.unanswered += 1

    def stop(self) -> None:
        self._stop.set()

    def _until_answered(self, request: Callable[[], Outcome], attempts: int = 120) -> bool:
        for _ in range(attempts):
            outcome = request()
            with self._answered:
                self.outcomes[outcome] += 1
                self._answered.notify_all()
            if outcome == "ok":
                return True
            threading.Event().wait(0.5)  # the delay of a client before it retries, as Retry-After asks
        return False


@contextmanager
def load(rest: int, rpc: int, clients: int = 2) -> Iterator[Load]:
    """The load of so many clients of each API. On leaving, every request that was sent has ended."""
    running = Load()
    with grpc.insecure_channel(f"127.0.0.1:{rpc}", [("grpc.max_reconnect_backoff_ms", 1000)]) as channel:
        stub = landmarks_pb2_grpc.LandmarksStub(channel)
        requests = [lambda: request_rest(f"http://127.0.0.1:{rest}"), lambda: request_grpc(stub)] * clients
        threads = [threading.Thread(target=running.run, args=(request,)) for request in requests]
        for thread in threads:
            thread.start()
        try:
            yield running
        finally:
            running.stop()
            for thread in threads:
                thread.join()
