"""Requests to both APIs of a real service, drawn from the descriptions of these APIs."""

from __future__ import annotations

import base64
import json
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from bench.measuring import ROOT
from bench.services import started
from landmarks_client.pb import landmarks_pb2 as pb
from service.errors import ErrorKind
from service.rpc.errors import CODE_KEY
from tests.contract.test_schemathesis import CHECKS, IMAGES, OPERATIONS, is_short
from tests.fuzz.files import damaged, files
from tests.fuzz.options import PORTRAIT, detect_requests
from tests.fuzz.run import HANG_SECONDS, ROUND, Fuzzer, Outcome, Run
from tests.fuzz.streams import checked_answers, joined, split, stream, streams

SETTINGS = {"engine": "local", "max_bytes": "1000000", "max_pixels": "4000000"}
OWN_FAULTS = {kind.value for kind in (ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE, ErrorKind.OVERLOADED)}
RIGHT = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """A method's name and a message, most of which can be read; of `Track` the messages of a stream."""
    method = draw(st.sampled_from(("Detect", "Detect", "DetectBatch", "Track", "Track")))
    if method == "Track":
        parts = [each.SerializeToString() for each in draw(streams())]
    else:
        requests = draw(st.lists(detect_requests(), min_size=1, max_size=1 if method == "Detect" else 3))
        message = requests[0] if method == "Detect" else pb.DetectBatchRequest(requests=requests)
        parts = [message.SerializeToString()]
    if draw(st.integers(0, 4)) == 0:
        number = draw(st.integers(0, len(parts) - 1))
        data = parts[number]
        at = draw(st.integers(0, len(data)))
        parts[number] = data[:at] + draw(st.binary(max_size=8)) + data[at + draw(st.integers(0, 8)) :]
    return method, joined(parts) if method == "Track" else parts[0]


class ApiFuzzer(Fuzzer):
    """Requests over REST and gRPC, in turn."""

    name = "apis"

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._stack = ExitStack()
        self._pid, rest, rpc = self._stack.enter_context(started(ROOT, **SETTINGS))
        self._url = f"http://127.0.0.1:{rest}"
        self._session = self._stack.enter_context(requests.Session())
        self._channel = self._stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{rpc}"))
        self._described = schemathesis.openapi.from_url(f"{self._url}/openapi.json")
        # the memory of the most demanding requests is allocated before the first measurement
        many = pb.DetectRequest(image=PORTRAIT, boxes=[pb.Box(x1=30, y1=20, x2=90, y2=80)] * 32, flip=True)
        for method, message in (
            ("Detect", many),
            ("DetectBatch", pb.DetectBatchRequest(requests=[many] * 4)),
        ):
            self._call(method, message.SerializeToString())
        self._call("Track", stream(PORTRAIT))

    @property
    def pid(self) -> int:
        return self._pid

    def settle(self) -> None:
        for data in (PORTRAIT, *files()):
            self._call("Detect", pb.DetectRequest(image=data).SerializeToString())
            self._call("Track", stream(data))
            self._session.post(f"{self._url}/v1/landmarks", data, headers={"Content-Type": "image/jpeg"})

    def round(self, seed: int, run: Run) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(ROUND)
        @hypothesis.given(messages())
        def call(drawn: tuple[str, bytes]) -> None:
            run.count(self._checked(self._call(*drawn)), drawn[1], f".{drawn[0]}")

        call()
        for path, method in OPERATIONS:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._rest_round(seed, run, path, method, mode)

    def _rest_round(self, seed: int, run: Run, path: str, method: str, mode: Any) -> None:
        cases = self._described[path][method].as_strategy(generation_mode=mode)
        right = mode is GenerationMode.POSITIVE

        @hypothesis.seed(seed)
        @hypothesis.settings(ROUND, max_examples=OPERATIONS[path, method])
        @hypothesis.given(cases, st.one_of(st.just(PORTRAIT), damaged()))
        def ask(case: Any, image: bytes) -> None:
            if is_short(case.headers.get("X-Request-Timeout")):
                del case.headers["X-Request-Timeout"]
            if right and case.media_type in IMAGES:
                case.body = image
            request = requests.Request(**case.as_transport_kwargs(base_url=self._url)).prepare()
            run.count(self._checked(self._ask(request, case)), written(request), ".json")

        try:
            ask()
        except Unsatisfiable:
            assert method == "GET"  # nothing can be wrong where nothing is given

    def _checked(self, outcome: Outcome) -> Outcome:
        """A crash, if the service has ended; then another one is started."""
        ended = outcome.problem and os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if not ended:
            return outcome
        self.close()
        self._start()
        return Outcome("crash", f"the service ended with status {ended.si_status}: {outcome.problem}")

    def _ask(self, request: requests.PreparedRequest, case: Any = None) -> Outcome:
        try:
            response = self._session.send(request, timeout=HANG_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            return Outcome(f"REST {type(error).__name__}", str(error))
        code = f"REST {response.status_code}"
        problem = ""
        if response.status_code >= 500 or re.search(r'"status":5\d\d\b', response.text):
            problem = response.text
        elif case is not None:
            try:
                case.validate_response(response, checks=CHECKS[:-1])  # whether wrong data are refused, the tests check
            except AssertionError as error:
                code, problem = f"{code} not as described", str(error)
        return Outcome(code, problem)

    def _call(self, method: str, message: bytes) -> Outcome:
        path = f"/landmarks.v1.Landmarks/{method}"
        try:
            if method == "Track":
                answers = self._channel.stream_stream(path)(iter(split(message)), timeout=HANG_SECONDS)
                return checked_answers([pb.TrackResponse.FromString(each) for each in answers])
            answer = self._channel.unary_unary(path)(message, timeout=HANG_SECONDS)
        except grpc.RpcError as error:
            code = dict(error.trailing_metadata() or ()).get(CODE_KEY, "")
            wrong = error.code() not in RIGHT or code in OWN_FAULTS
            return Outcome(f"gRPC {error.code().name} {code}".strip(), str(error.details() or "-") if wrong else "")
        if method == "DetectBatch":
            for result in pb.DetectBatchResponse.FromString(answer).results:
                if result.problem.status >= 500:
                    return Outcome(f"gRPC {result.problem.code} in a batch", result.problem.detail)
        return Outcome("gRPC OK")

    def repeat(self, path: Path) -> Outcome:
        if path.suffix == ".json":
            kept = json.loads(path.read_text(encoding="utf-8"))
            request = requests.Request(kept["method"], self._url + kept["path"], headers=kept["headers"]).prepare()
            request.body = base64.b64decode(kept["body"])
            return self._ask(request)
        return self._call(path.suffix[1:], path.read_bytes())

    def close(self) -> None:
        self._stack.close()


def written(request: requests.PreparedRequest) -> bytes:
    """A request as it is kept: JSON, its body in base64."""
    body: Any = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    kept = {"method": request.method, "path": request.path_url, "headers": dict(request.headers)}
    return json.dumps(kept | {"body": base64.b64encode(body).decode()}, default=str).encode()
