"""What is seen of a request while it is worked on: histograms, a trace, and a line of the log.

::

    with telemetry.request(door, id, carrier):      the whole of it: root span, counters, the line in the log
        with stage("decode"): ...                   one stage: a histogram, a child span
        with round_trip() as headers: ...           one call to Triton: the same, and what continues the trace there

The request is found through a context variable, so that no signature on the way has to carry it. Outside of one (the
command line, the golden crop of a probe) `stage` and `round_trip` see nothing and cost next to nothing.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from service.observability.metrics import Metrics

TRACEPARENT: Final = "traceparent"
"""W3C Trace Context: version, trace id, parent's span id and flags."""

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PASSED_ON: Final = (TRACEPARENT, "tracestate")

logger = logging.getLogger("service.access")

client: ContextVar[str | None] = ContextVar("client", default=None)
"""Name of the API key that the request came with."""


class Span(Protocol):
    """A piece of a trace, which has begun."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, or nothing where there is no trace."""

    def child(self, name: str) -> Span:
        """A part of this one, beginning now."""

    def headers(self) -> dict[str, str]:
        """What another service needs to continue the trace."""

    def end(self, code: str) -> None:
        """`code`: "ok", or what went wrong."""


class Tracer(Protocol):
    """Begins traces, or continues those of callers."""

    def start(self, name: str, carrier: Mapping[str, str], attributes: Mapping[str, str]) -> Span:
        """`carrier`: the request's headers, names in lower case."""

    def close(self) -> None:
        """Sends what has not been sent yet."""


class PassedOn:
    """The span of somebody else's trace, when none are recorded here: handed on as it came."""

    def __init__(self, carrier: Mapping[str, str]) -> None:
        match = _TRACEPARENT.fullmatch(carrier.get(TRACEPARENT, ""))
        self.trace_id = match[1] if match else ""
        self._headers = {name: carrier[name] for name in _PASSED_ON if match and name in carrier}

    def child(self, name: str) -> PassedOn:  # noqa: ARG002
        return self

    def headers(self) -> dict[str, str]:
        return self._headers

    def end(self, code: str) -> None: ...


class NoTracer:
    """Records nothing."""

    def start(self, name: str, carrier: Mapping[str, str], attributes: Mapping[str, str]) -> PassedOn:  # noqa: ARG002
        return PassedOn(carrier)

    def close(self) -> None: ...


@dataclass
class Scope:
    """One request, or a part of it, in the context that works on it."""

    door: str
    request_id: str
    metrics: Metrics
    span: Span
    code: str = "cancelled"
    """What became of it."""


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current() -> Scope | None:
    """The request that this context works on."""
    return _current.get()


class Telemetry:
    """One for each gateway."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.metrics = Metrics()
        self._tracer: Tracer = tracer or NoTracer()

    @contextmanager
    def request(self, door: str, request_id: str, carrier: Mapping[str, str]) -> Iterator[Scope]:
        """One request, until it is answered; whoever answers it sets the scope's `code`."""
        attributes = {"landmarks.door": door, "landmarks.request_id": request_id}
        span = self._tracer.start(f"landmarks {door}", carrier, attributes)
        scope = Scope(door, request_id, self.metrics, span)
        token, start = _current.set(scope), time.perf_counter()
        try:
            yield scope
        finally:
            seconds = time.perf_counter() - start
            self._count(door, scope.code, seconds)
            tell(scope, seconds)
            _current.reset(token)
            span.end(scope.code)

    def refused(self, door: str, request_id: str, code: str) -> None:
        """Counts and logs a request that was turned away before anything was done for it."""
        self._count(door, code, 0.0)
        self.metrics.rejections.labels(door, code).inc()
        tell(Scope(door, request_id, self.metrics, PassedOn({}), code), 0.0)

    def _count(self, door: str, code: str, seconds: float) -> None:
        self.metrics.requests.labels(door, code).inc()
        if code == "ok":
            self.metrics.request_seconds.labels(door).observe(seconds)


def tell(scope: Scope, seconds: float) -> None:
    """The request's line in the log: nothing of its image, its faces or its key."""
    if logger.isEnabledFor(logging.INFO):
        fields = {"door": scope.door, "code": scope.code, "milliseconds": round(1e3 * seconds, 3)}
        by = client.get()
        fields |= {"client": by} if by else {}
        text = "%s %s %s in %.1f ms" + (f", for {by}" if by else "")
        extra = {"fields": {"request_id": scope.request_id, **fields}}
        logger.info(text, scope.door, scope.request_id, scope.code, 1e3 * seconds, extra=extra)


class stage:  # noqa: N801 - used as a function; a class enters and leaves in half a generator's time
    """`with stage("decode"):` times a stage of the request, and makes it a span of its trace."""

    __slots__ = ("_name", "_scope", "_span", "_start", "_token")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> Span | None:
        self._scope = scope = _current.get()
        if scope is None:
            return None
        self._span = scope.span.child(self._name)
        self._token = None
        if self._span is not scope.span:
            self._token = _current.set(Scope(scope.door, scope.request_id, scope.metrics, self._span))
        self._start = time.perf_counter()
        return self._span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._scope is not None:
            self._scope.metrics.stage(self._scope.door, self._name, time.perf_counter() - self._start)
            if self._token is not None:
                _current.reset(self._token)
            self._span.end("ok" if kind is None else kind.__name__)


@contextmanager
def round_trip() -> Iterator[dict[str, str]]:
    """One call to Triton; gives the headers that continue the request's trace there."""
    scope = _current.get()
    if scope is None:
        yield {}
        return
    span, start, code = scope.span.child("triton"), time.perf_counter(), "ok"
    try:
        yield span.headers()
    except BaseException as error:
        code = type(error).__name__
        raise
    finally:
        scope.metrics.triton_seconds.labels(code).observe(time.perf_counter() - start)
        span.end(code)
