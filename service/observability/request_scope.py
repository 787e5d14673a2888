"""What is observed of a request while it is worked on: metrics, spans of its trace, and a line in the access log.

::

    with telemetry.request(protocol, id, headers):  the whole request: root span, counters, the line in the log
        with stage("decode"): ...                   one stage: a histogram, a child span
        with round_trip() as headers: ...           one call to Triton: the same, and headers that continue the trace

The request and its current span are found through context variables, so that no signature on the way carries them.
Outside of a request (on the command line, in a probe) `stage` and `round_trip` observe nothing and cost very little.

Spans need `opentelemetry-api` alone. Without its SDK they are not recorded, but the caller's trace context (W3C Trace
Context) is passed on to Triton all the same. `service.observability.tracing` makes a tracer that records them
(decision 0022).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from opentelemetry import context, trace
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.observability.metrics import ApiProtocol, Metrics
from service.observability.tracestate import valid_tracestate

_PROPAGATOR: Final = TraceContextTextMapPropagator()

logger = logging.getLogger("service.access")

client: ContextVar[str | None] = ContextVar("client", default=None)
"""The name of the API key that came with the request."""


@dataclass
class Scope:
    """The request that the current context works on."""

    protocol: ApiProtocol
    request_id: str
    metrics: Metrics
    tracer: Tracer
    code: str = "cancelled"
    """The code of its answer: "ok", or that of an error."""


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current() -> Scope | None:
    """The request that the current context works on."""
    return _current.get()


def current_trace_id() -> str | None:
    """The trace that the current context belongs to, as 32 hexadecimal digits."""
    trace_id = trace.get_current_span().get_span_context().trace_id
    return trace.format_trace_id(trace_id) if trace_id else None


class Telemetry:
    """The observation of all requests of one gateway."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        """`tracer`: records spans; without it the callers' traces are only passed on."""
        self.metrics = Metrics()
        self._tracer = tracer or NoOpTracer()

    @contextmanager
    def request(self, protocol: ApiProtocol, request_id: str, headers: Mapping[str, str]) -> Iterator[Scope]:
        """Observes one request until it is answered. Whoever answers it sets the scope's `code`.

        `headers`: those of the request, names in lower case, which may hold a trace to continue.
        """
        # landmarks.door is the former name of landmarks.protocol, kept for one release
        attributes = {
            "landmarks.protocol": protocol,
            "landmarks.door": protocol,
            "landmarks.request_id": request_id,
        }
        parent = _PROPAGATOR.extract(_trace_context(headers))
        span = self._tracer.start_span(f"landmarks {protocol}", parent, SpanKind.SERVER, attributes)
        scope = Scope(protocol, request_id, self.metrics, self._tracer)
        scope_token, span_token = _current.set(scope), context.attach(trace.set_span_in_context(span))
        start = time.perf_counter()
        try:
            yield scope
        finally:
            seconds = time.perf_counter() - start
            self.metrics.count_request(protocol, scope.code, seconds)
            log_request(protocol, request_id, scope.code, seconds)
            context.detach(span_token)
            _current.reset(scope_token)
            _end(span, scope.code)

    def refused(self, protocol: ApiProtocol, request_id: str, code: str) -> None:
        """Counts and logs a request that was refused before any work was done for it."""
        self.metrics.count_request(protocol, code, 0.0)
        self.metrics.count_rejection(protocol, code)
        log_request(protocol, request_id, code, 0.0)


def _trace_context(headers: Mapping[str, str]) -> dict[str, str]:
    """The two headers that continue a trace, with nothing that gRPC could not send on to Triton."""
    return {
        "traceparent": headers.get("traceparent", ""),
        "tracestate": valid_tracestate(headers.get("tracestate", "")),
    }


def log_request(protocol: ApiProtocol, request_id: str, code: str, seconds: float) -> None:
    """Writes the request's line in the access log, with nothing of its image, its faces or its key."""
    if logger.isEnabledFor(logging.INFO):
        # `door` is the former name of `protocol`, kept for one release
        fields = {"protocol": protocol, "door": protocol, "code": code, "milliseconds": round(1e3 * seconds, 3)}
        holder = client.get()
        fields |= {"client": holder} if holder else {}
        text = "%s %s %s in %.1f ms" + (f", for {holder}" if holder else "")
        extra = {"fields": {"request_id": request_id, **fields}}
        logger.info(text, protocol, request_id, code, 1e3 * seconds, extra=extra)


class stage:  # noqa: N801 - used as a function; a class enters and leaves in half a generator's time
    """`with stage("decode"):` times a stage of the request, and makes it a span of the request's trace."""

    __slots__ = ("_name", "_scope", "_span", "_start", "_token")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._scope = scope = _current.get()
        if scope is not None:
            self._span = scope.tracer.start_span(self._name)
            self._token = context.attach(trace.set_span_in_context(self._span))
            self._start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._scope is not None:
            self._scope.metrics.observe_stage(self._scope.protocol, self._name, time.perf_counter() - self._start)
            context.detach(self._token)
            _end(self._span, "ok" if kind is None else kind.__name__)


@contextmanager
def round_trip() -> Iterator[dict[str, str]]:
    """One call to Triton. Yields the headers that continue the request's trace there."""
    scope, headers = _current.get(), dict[str, str]()
    if scope is None:
        yield headers
        return
    span, start, code = scope.tracer.start_span("triton", kind=SpanKind.CLIENT), time.perf_counter(), "ok"
    _PROPAGATOR.inject(headers, trace.set_span_in_context(span))
    try:
        yield headers
    except BaseException as error:
        code = type(error).__name__
        raise
    finally:
        scope.metrics.triton_seconds.labels(code).observe(time.perf_counter() - start)
        _end(span, code)


def waited(queue: str, seconds: float) -> None:
    """Notes how long the request waited in a queue before the calls to a model."""
    if (scope := _current.get()) is not None:
        scope.metrics.queue_seconds.labels(queue).observe(seconds)


def _end(span: Span, code: str) -> None:
    """`code`: "ok", or what went wrong."""
    span.set_attribute("landmarks.code", code)
    if code != "ok":
        span.set_status(Status(StatusCode.ERROR, code))
    span.end()
