"""What is observed of a request: its stages, its caller's trace, and its line in the log."""

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service import pipeline
from service.engines.triton.endpoint import Endpoint
from service.images.decode import DecodedImage, decode_source
from service.images.header import Source
from service.images.limits import ImageLimits
from service.observability.logs import TEXT, JsonFormatter, TextFormatter
from service.observability.request_scope import Telemetry, current, current_trace_id, round_trip, stage
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway
from tests.service.triton_double import TritonDouble, verify

pytestmark = pytest.mark.anyio

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Recorder:
    """Telemetry whose spans are kept in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.telemetry = Telemetry(provider.get_tracer("test"))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans that have ended, in the order in which they did."""
        return self._exporter.get_finished_spans()


def test_stages_nest_as_they_run_and_record_what_failed() -> None:
    recorder = Recorder()
    with recorder.telemetry.request("rest", "me", {}) as scope:
        with stage("infer"), round_trip() as headers:
            version, trace_id, span_id, flags = headers["traceparent"].split("-")
        assert current_trace_id() == trace_id
        with pytest.raises(ZeroDivisionError), stage("encode"):
            raise ZeroDivisionError
        scope.code = "internal"
    triton, infer, _, root = recorder.spans
    names = {span.context.span_id: span.name for span in recorder.spans if span.context}
    tree = [(span.name, names[span.parent.span_id] if span.parent else None) for span in recorder.spans]
    assert tree == [
        ("triton", "infer"),
        ("infer", "landmarks rest"),
        ("encode", "landmarks rest"),
        ("landmarks rest", None),
    ]
    codes = [span.attributes and span.attributes["landmarks.code"] for span in recorder.spans]
    assert codes == ["ok", "ok", "ZeroDivisionError", "internal"]
    assert [span.status.is_ok for span in recorder.spans] == [True, True, False, False]
    assert [span.kind.name for span in (triton, infer, root)] == ["CLIENT", "INTERNAL", "SERVER"]
    # the call continues the trace under its own span
    assert triton.context is not None
    assert (version, int(span_id, 16), int(flags, 16) & 1) == ("00", triton.context.span_id, 1)
    text = recorder.telemetry.metrics.text().decode()
    assert 'landmarks_stage_seconds_count{door="rest",protocol="rest",stage="infer"} 1.0' in text
    assert 'landmarks_triton_seconds_count{code="ok"} 1.0' in text
    assert 'landmarks_requests_total{code="internal",door="rest",protocol="rest"} 1.0' in text
    assert "landmarks_request_seconds_count" not in text  # only requests answered with ok


def test_outside_of_a_request_nothing_is_observed() -> None:
    with stage("decode"), round_trip() as headers:
        assert (headers, current(), current_trace_id()) == ({}, None, None)


def test_after_a_request_nothing_of_it_is_left() -> None:
    recorder = Recorder()
    with recorder.telemetry.request("rest", "me", {}):
        assert current_trace_id() is not None
    assert (current(), current_trace_id()) == (None, None)


async def test_concurrent_requests_are_told_apart() -> None:
    telemetry = Telemetry()

    async def work(name: str, gate: asyncio.Event) -> tuple[str, str, str | None]:
        trace_id = name * 32
        with telemetry.request("grpc", name, {"traceparent": f"00-{trace_id}-{PARENT}-01"}) as scope, stage("infer"):
            await gate.wait()
            found = current()
            scope.code = "ok"
            assert found is not None
            return name, found.request_id, current_trace_id()

    gate = asyncio.Event()
    tasks = [asyncio.ensure_future(work(name, gate)) for name in "abc"]
    asyncio.get_running_loop().call_soon(gate.set)
    assert await asyncio.gather(*tasks) == [("a", "a", "a" * 32), ("b", "b", "b" * 32), ("c", "c", "c" * 32)]


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (TRACEPARENT, TRACE),
        ("", None),
        ("00-" + "0" * 32 + f"-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
        (TRACEPARENT + "\nx: y", None),
        (TRACEPARENT + "-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
    ],
)
def test_a_trace_is_passed_on_when_none_is_recorded(given: str, trace: str | None) -> None:
    carrier = {"traceparent": given, "tracestate": "vendor=1", "authorization": "Bearer k"}
    with Telemetry().request("rest", "me", carrier), stage("infer"), round_trip() as headers:
        assert current_trace_id() == trace
        assert headers == ({"traceparent": given, "tracestate": "vendor=1"} if trace else {})


def test_a_trace_of_a_later_version_is_passed_on_as_version_00() -> None:
    with Telemetry().request("rest", "me", {"traceparent": f"cc-{TRACE}-{PARENT}-01-more"}), round_trip() as headers:
        assert headers == {"traceparent": TRACEPARENT}


class Hearing(TritonDouble):
    """Remembers the metadata of the last call."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        return await super().ModelInfer(request, context)


async def test_the_trace_continues_in_triton() -> None:
    triton = Hearing()
    await triton.start()
    endpoint: Endpoint[str] = Endpoint(triton.address, verify)
    try:
        with Telemetry().request("rest", "me", {"traceparent": TRACEPARENT}), stage("infer"):
            await endpoint.infer("landmarks", [])
    finally:
        await endpoint.close()
        await triton.stop()
    assert triton.metadata["traceparent"] == TRACEPARENT


async def test_threads_of_the_pipeline_know_their_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line that is logged while an image is decoded carries the request's id and trace."""
    lines: list[dict[str, Any]] = []

    def logging_decode(source: Source, limits: ImageLimits) -> DecodedImage:
        record = logging.makeLogRecord({"msg": threading.current_thread().name})
        lines.append(json.loads(JsonFormatter().format(record)))
        return decode_source(source, limits)

    monkeypatch.setattr(pipeline, "decode_source", logging_decode)
    async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
        headers = {"traceparent": TRACEPARENT, "X-Request-ID": "mine"}
        await apis["rest"].client.post("/v1/landmarks", content=encoded(gradient_image()), headers=headers)
    (line,) = lines
    assert line["message"] != threading.current_thread().name
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE)


def test_the_line_of_a_request_has_its_protocol_under_the_former_name_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.access"), Telemetry().request("grpc", "mine", {}) as scope:
        scope.code = "ok"
    (record,) = caplog.records
    line = json.loads(JsonFormatter().format(record))
    assert [line[name] for name in ("request_id", "protocol", "door", "code")] == ["mine", "grpc", "grpc", "ok"]
    assert line["message"].startswith("grpc mine ok in ")


def test_a_line_of_json_has_what_programs_look_for() -> None:
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


def test_a_line_of_text_has_its_time_in_utc_with_the_offset() -> None:
    record = logging.makeLogRecord(
        {"name": "a.b", "levelname": "INFO", "msg": "it %s", "args": ("works",), "created": 0.5, "msecs": 500.0}
    )
    assert TextFormatter(TEXT).format(record) == "1970-01-01T00:00:00.500+00:00 INFO a.b: it works"
