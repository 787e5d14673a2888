"""Traces by OpenTelemetry, sent as OTLP over HTTP. Imported where they are asked for: the packages are an extra."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

EXPORT_SECONDS: Final = 3.0
"""How long a batch is tried to be sent, which is also how long the end of the service may wait for a collector."""
_PROPAGATOR = TraceContextTextMapPropagator()


class OtlpTracer:
    """Spans are sent in batches from a thread of its own; a collector that is away delays no request."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: the collector's base URL, as in http://127.0.0.1:4318."""
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, where they are set, stand above these
        resource = Resource.create({SERVICE_NAME: "landmarks", SERVICE_VERSION: version("h3r-landmarks")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("landmarks")

    def start(self, name: str, carrier: Mapping[str, str], attributes: Mapping[str, str]) -> OtlpSpan:
        context = _PROPAGATOR.extract(carrier, getter=_FromMapping())
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes=dict(attributes))
        return OtlpSpan(self._tracer, span)

    def close(self) -> None:
        self._provider.shutdown()


class OtlpSpan:
    """The port `service.observability.request_scope.Span`."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def child(self, name: str) -> OtlpSpan:
        kind = SpanKind.CLIENT if name == "triton" else SpanKind.INTERNAL
        span = self._tracer.start_span(name, trace.set_span_in_context(self._span), kind)
        return OtlpSpan(self._tracer, span)

    def headers(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return carrier

    def end(self, code: str) -> None:
        self._span.set_attribute("landmarks.code", code)
        if code != "ok":
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


class _FromMapping(Getter[Mapping[str, str]]):
    """Reads headers whose mapping heeds no case itself."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key)
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)
