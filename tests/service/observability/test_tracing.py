"""Traces that are recorded and sent to a collector as OTLP."""

import asyncio
import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from landmarks.golden import golden_crop
from service.bootstrap import running_telemetry
from service.engines.triton.engine import TritonEngine
from service.errors import StartError
from service.observability.request_scope import current_trace_id, stage
from service.settings import Settings
from service.triton_server.process import EmbeddedTriton
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Receiver(BaseHTTPRequestHandler):
    """Takes traces as a collector does."""

    spans: list[Any]
    resources: list[dict[str, str]]
    written: list[dict[str, Any]]
    heard: Event

    def do_POST(self) -> None:
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
    handler = type("Receiver", (Receiver,), {"spans": [], "resources": [], "written": [], "heard": Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


async def test_traces_reach_a_collector_as_one_tree_under_the_callers_span() -> None:
    with receiver() as (url, collector):
        async with running_telemetry(Settings(otlp_endpoint=url)) as telemetry:
            gateway = make_gateway(FakeEngine(), FakeDetector(), telemetry=telemetry)
            async with open_apis(gateway) as apis:
                await apis["rest"].client.post(
                    "/v1/landmarks",
                    content=encoded(gradient_image()),
                    params={"box": "20,30,200,210"},
                    headers={"traceparent": TRACEPARENT, "X-Request-ID": "mine"},
                )
                await apis["grpc"].ask(b"no image")  # refused by its first bytes, before it is decoded
    names = {span.span_id: span.name for span in collector.spans}
    rest = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    grpc = [span for span in collector.spans if span.trace_id.hex() != TRACE]
    (root,) = [span for span in rest if span.name == "landmarks rest"]
    assert root.parent_span_id.hex() == PARENT
    assert {each.key: each.value.string_value for each in root.attributes} == {
        "landmarks.protocol": "rest",
        "landmarks.door": "rest",  # its former name
        "landmarks.request_id": "mine",
        "landmarks.code": "ok",
    }
    stages = {span.name: names[span.parent_span_id] for span in rest if span is not root}
    assert stages == dict.fromkeys(["read", "decode", "detect", "crop", "infer", "encode"], "landmarks rest")
    assert {span.name: span.status.code for span in grpc} == {"landmarks grpc": 2}  # ERROR
    assert collector.resources[0]["service.name"] == "landmarks"


async def test_a_real_triton_adds_its_spans_to_the_trace(needs_triton: None, model_repository: Path) -> None:
    with receiver() as (url, collector):
        triton = EmbeddedTriton(model_repository, otlp_endpoint=url)
        try:
            engine = TritonEngine(await triton.start())
            await engine.start()
            async with running_telemetry(Settings(otlp_endpoint=url)) as telemetry:
                for _ in range(5):  # a busy Triton may drop spans
                    with telemetry.request("rest", "me", {"traceparent": TRACEPARENT}), stage("infer"):
                        await engine.infer(golden_crop()[None])
                    if await asyncio.to_thread(collector.heard.wait, 15):
                        break
            await engine.close()
        finally:
            await triton.stop()
    calls = {span.span_id.hex() for span in collector.spans if span.name == "triton"}
    theirs = {span["name"]: span for span in collector.written if span["traceId"] == TRACE}
    assert {"landmarks", "heatmap", "decode"} <= set(theirs)
    assert theirs["InferRequest"]["parentSpanId"] in calls
    # the golden crop, which every Triton has to answer, is not traced
    assert {span["traceId"] for span in collector.written} == {TRACE}


async def test_a_collector_that_does_not_answer_delays_no_request() -> None:
    async with running_telemetry(Settings(otlp_endpoint="http://127.0.0.1:9")) as telemetry:
        with telemetry.request("rest", "me", {}) as scope, stage("decode"):
            assert current_trace_id() is not None
            scope.code = "ok"
    assert 'landmarks_requests_total{code="ok"' in telemetry.metrics.text().decode()


async def test_without_the_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service.observability.tracing", None)
    with pytest.raises(StartError, match=r"h3r-landmarks\[otel\]"):
        async with running_telemetry(Settings(otlp_endpoint="http://127.0.0.1:4318")):
            pass
