"""What is seen of a request: stages, the trace of a caller, the line in the log; and OTLP against a real receiver."""

import asyncio
import gzip
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from tritonclient.grpc import service_pb2_grpc

from landmarks.golden import golden_crop
from service.bootstrap import StartError, _tracer
from service.engines.triton.endpoint import Endpoint
from service.engines.triton.engine import TritonEngine
from service.observability import request_scope as telemetry
from service.observability.logs import JsonFormatter
from service.observability.request_scope import NoTracer, PassedOn, Telemetry, round_trip, stage
from service.settings import Settings
from service.triton_server.process import EmbeddedTriton
from tests.contract.apis import open_doors
from tests.fakes import FakeDetector, FakeEngine, encoded, make_gateway, picture
from tests.service.triton_double import TritonDouble, verify

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Recorded:
    """A span that remembers itself."""

    trace_id = TRACE

    def __init__(self, name, into, parent=None):
        self.name, self.into, self.parent = name, into, parent
        into.append(self)
        self.code = ""

    def child(self, name):
        return Recorded(name, self.into, self)

    def headers(self):
        return {"traceparent": f"of {self.name}"}

    def end(self, code):
        self.code = code


class Recorder:
    def __init__(self):
        self.spans = []

    def start(self, name, carrier, attributes):
        return Recorded(name, self.spans)

    def close(self): ...


def ended(spans):
    return [(span.name, span.parent.name if span.parent else None, span.code) for span in spans]


def test_stages_nest_as_they_run_and_tell_what_broke():
    recorder = Recorder()
    seen = Telemetry(recorder)
    with seen.request("rest", "me", {}) as scope:
        with stage("infer"), round_trip() as headers:
            assert headers == {"traceparent": "of triton"}
        with pytest.raises(ZeroDivisionError), stage("encode"):
            raise ZeroDivisionError
        scope.code = "internal"
    assert ended(recorder.spans) == [
        ("landmarks rest", None, "internal"),
        ("infer", "landmarks rest", "ok"),
        ("triton", "infer", "ok"),
        ("encode", "landmarks rest", "ZeroDivisionError"),
    ]
    text = seen.metrics.text().decode()
    assert 'landmarks_stage_seconds_count{door="rest",stage="infer"} 1.0' in text
    assert 'landmarks_triton_seconds_count{code="ok"} 1.0' in text
    assert 'landmarks_requests_total{code="internal",door="rest"} 1.0' in text
    assert "landmarks_request_seconds_count" not in text  # of requests answered with ok alone


def test_outside_of_a_request_nothing_is_seen():
    with stage("decode") as span, round_trip() as headers:
        assert (span, headers, telemetry.current()) == (None, {}, None)


async def test_requests_side_by_side_are_told_apart():
    recorder = Recorder()
    seen = Telemetry(recorder)

    async def work(name: str, gate: asyncio.Event) -> tuple[str, str]:
        with seen.request("grpc", name, {}) as scope, stage("infer"):
            await gate.wait()
            found = telemetry.current()
            scope.code = "ok"
            assert found is not None
            return name, found.request_id

    gate = asyncio.Event()
    tasks = [asyncio.ensure_future(work(name, gate)) for name in "abc"]
    asyncio.get_running_loop().call_soon(gate.set)
    assert await asyncio.gather(*tasks) == [("a", "a"), ("b", "b"), ("c", "c")]


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (TRACEPARENT, TRACE),
        ("", ""),
        ("00-" + "0" * 32 + f"-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (TRACEPARENT.upper(), ""),
        (TRACEPARENT + "\nx: y", ""),
    ],
)
def test_a_trace_is_passed_on_when_none_is_recorded(given: str, trace: str):
    span = NoTracer().start("x", {"traceparent": given, "tracestate": "vendor=1", "authorization": "Bearer k"}, {})
    assert span.trace_id == trace
    expected = {"traceparent": given, "tracestate": "vendor=1"} if trace else {}
    assert span.child("infer").headers() == expected


class Hearing(TritonDouble):
    """Remembers what came with a call."""

    async def ModelInfer(self, request, context):  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        return await super().ModelInfer(request, context)


async def test_the_trace_goes_on_into_triton():
    assert issubclass(Hearing, service_pb2_grpc.GRPCInferenceServiceServicer)
    triton = Hearing()
    await triton.start()
    endpoint: Endpoint[str] = Endpoint(triton.address, verify)
    try:
        with Telemetry().request("rest", "me", {"traceparent": TRACEPARENT}), stage("infer"):
            await endpoint.infer("landmarks", [])
    finally:
        await endpoint.close()
        await triton.stop()
    result = triton.metadata
    assert result["traceparent"] == TRACEPARENT


def test_threads_of_the_pipeline_know_their_request():
    """A line logged while an image is decoded carries the request's id."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JsonFormatter().format(record)))  # type: ignore[method-assign]
    logger = logging.getLogger("PIL.PngImagePlugin")  # tells of its chunks at level debug
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    async def run():
        async with open_doors(make_gateway(FakeEngine(), FakeDetector())) as doors:
            await doors["rest"].ask(encoded(picture()), request_id="mine")

    try:
        asyncio.run(run())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert {line["request_id"] for line in lines} == {"mine"}


def test_a_line_of_json_has_what_programs_look_for():
    record = logging.makeLogRecord(
        {"name": "a.b", "levelname": "ERROR", "msg": "it %s", "args": ("broke",), "created": 0}
    )
    try:
        raise ValueError("why")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("exception").splitlines()[-1] == "ValueError: why"
    assert line == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "error",
        "logger": "a.b",
        "message": "it broke",
    }


# ---------------------------------------------------------------- OTLP


class Receiver(BaseHTTPRequestHandler):
    """Takes traces as a collector does."""

    spans: list
    resources: list
    written: list
    heard: Event

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        if self.headers["Content-Type"] == "application/json":  # as Triton writes it
            for resource in json.loads(body)["resourceSpans"]:
                self.written.extend(span for scope in resource["scopeSpans"] for span in scope["spans"])
            body = b""
            self.heard.set()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
            self.spans.extend(span for scope in resource.scope_spans for span in scope.spans)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportTraceServiceResponse().SerializeToString())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install h3r-landmarks[otel]")
    handler = type("Receiver", (Receiver,), {"spans": [], "resources": [], "written": [], "heard": Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_traces_reach_a_collector_as_one_tree_under_the_callers_span():
    with receiver() as (url, collector):
        tracer = _tracer(Settings(otlp_endpoint=url))

        async def run():
            gateway = make_gateway(FakeEngine(), FakeDetector(), telemetry=Telemetry(tracer))
            async with open_doors(gateway) as doors:
                await doors["rest"].client.post(
                    "/v1/landmarks",
                    content=encoded(picture()),
                    params={"box": "20,30,200,210"},
                    headers={"traceparent": TRACEPARENT, "X-Request-ID": "mine"},
                )
                await doors["grpc"].ask(b"no image")

        asyncio.run(run())
        tracer.close()
    names = {span.span_id: span.name for span in collector.spans}
    rest = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    grpc = [span for span in collector.spans if span.trace_id.hex() != TRACE]
    (root,) = [span for span in rest if span.name == "landmarks rest"]
    assert root.parent_span_id.hex() == PARENT
    assert {each.key: each.value.string_value for each in root.attributes} == {
        "landmarks.door": "rest",
        "landmarks.request_id": "mine",
        "landmarks.code": "ok",
    }
    stages = {span.name: names[span.parent_span_id] for span in rest if span is not root}
    assert stages == dict.fromkeys(["read", "decode", "detect", "crop", "infer", "encode"], "landmarks rest")
    assert {span.name: span.status.code for span in grpc} == {"landmarks grpc": 2, "decode": 2}  # ERROR
    assert collector.resources[0]["service.name"] == "landmarks"


def test_a_real_triton_adds_its_spans_to_the_trace(needs_triton: None, model_repository: Path):
    with receiver() as (url, collector):
        tracer = _tracer(Settings(otlp_endpoint=url))

        async def run():
            triton = EmbeddedTriton(model_repository, otlp_endpoint=url)
            try:
                engine = TritonEngine(await triton.start())
                await engine.start()
                for _ in range(5):  # a busy Triton may drop spans
                    with Telemetry(tracer).request("rest", "me", {"traceparent": TRACEPARENT}), stage("infer"):
                        await engine.infer(golden_crop(256)[None])
                    if await asyncio.to_thread(collector.heard.wait, 15):
                        break
                await engine.close()
            finally:
                await triton.stop()

        asyncio.run(run())
        tracer.close()
    calls = {span.span_id.hex() for span in collector.spans if span.name == "triton"}
    theirs = {span["name"]: span for span in collector.written if span["traceId"] == TRACE}
    assert {"landmarks", "heatmap", "decode"} <= set(theirs)
    assert theirs["InferRequest"]["parentSpanId"] in calls
    # of the golden crop that every Triton has to answer, nothing is told
    assert {span["traceId"] for span in collector.written} == {TRACE}


def test_a_collector_that_is_away_costs_no_request():
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install h3r-landmarks[otel]")
    with ThreadPoolExecutor(1):
        span = _tracer(Settings(otlp_endpoint="http://127.0.0.1:9")).start("x", {}, {})
        assert len(span.trace_id) == 32
        span.child("decode").end("ok")


def test_without_the_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "service.observability.tracing", None)
    with pytest.raises(StartError, match=r"h3r-landmarks\[otel\]"):
        _tracer(Settings(otlp_endpoint="http://127.0.0.1:4318"))


def test_what_is_passed_on_is_a_span():
    assert PassedOn({}).child("x").trace_id == ""
