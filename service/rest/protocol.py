"""Uvicorn's HTTP protocol with what it lacks: limits of size and time for headers, ignored upgrades, problem documents.

Everything of a request but its body counts as its headers: the request line, the header lines, extensions of chunks
and trailers. They are parsed before any key is checked, so that their size is limited here.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import ErrorKind, ServiceError
from service.observability.request_scope import Telemetry
from service.request_ids import request_id_or_new
from service.rest.errors import error_response
from service.rest.listener import HttpConnection
from service.wire.problem import STATUS

MAX_HEADER_BYTES: Final = 2**14
"""Of one request, the request line and trailers included."""
MAX_HEADER_FIELDS: Final = 100
LINGER_SECONDS: Final = 2.0
"""For which the connection of a refused or answered request stays open while its client still sends."""
LINGER_BYTES: Final = 2**26
"""That are discarded meanwhile."""
MAX_PIPELINED: Final = 16
"""Requests that wait on a connection for the answers to those before them. What follows is not answered."""
UNREAD_SECONDS: Final = 10.0
"""In which a client must read of its answers what UNREAD_RATE says, once more than 64 KiB wait."""
UNREAD_RATE: Final = 8 * 1024
"""Bytes a second."""
_CHUNK_FRAME: Final = 12
"""Bytes of a chunk that are neither its content nor an extension: its size and two line ends."""
_MALFORMED: Final = (
    "the bytes received are not an HTTP/1.1 request (and TLS is spoken only on a server with a certificate)"
)
_HEADERS_TOO_LARGE: Final = (
    f"the request line and headers have more than {MAX_HEADER_BYTES} bytes or {MAX_HEADER_FIELDS} fields: send fewer, "
    "or options in the body"
)


_WRONG_HOST: Final = "a request of HTTP/1.1 has exactly one header Host, and no other request has several"


class _HeadersTooLarge(Exception):
    """Raised inside the parser's callbacks."""


class _WrongHost(Exception):
    """As above."""


class _UnknownCoding(Exception):
    """As above."""


class _TooManyPipelined(Exception):
    """As above."""


def http_protocol(header_timeout: float, telemetry: Telemetry | None = None) -> type[HttpToolsProtocol]:
    """The protocol of a server that disconnects a client whose request's headers take longer, in seconds.

    `telemetry`: counts and logs the requests that are refused here, before there is an application to do it.
    """

    class Protocol(HttpConnection, HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _unread_timer: asyncio.TimerHandle | None = None
        _unparsed = 0
        """Bytes of the current request that were received and are not of its body."""
        _header_bytes = 0
        _header_fields = 0
        _has_ended = False
        """Whether a request ended in the bytes received last."""
        _discarded: int | None = None
        """Bytes that were received and not needed, of a request that is answered already; None of any other."""
        _refused = False
        """Whether nothing that is still received is parsed."""

        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)
            self.idle_since = time.monotonic()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_timer(header_timeout)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._check_reading(self.transport.get_write_buffer_size() + int(UNREAD_RATE * UNREAD_SECONDS))

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_unread_timer()

        def _check_reading(self, before: int) -> None:
            """Ends the connection of a client that does not read. `before`: bytes that waited UNREAD_SECONDS ago."""
            unread = self.transport.get_write_buffer_size()
            if before - unread < UNREAD_RATE * UNREAD_SECONDS:
                self.transport.abort()
            else:
                self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self._check_reading, unread)

        def _stop_unread_timer(self) -> None:
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

        def timeout_keep_alive_handler(self) -> None:
            self._end()

        def _end(self) -> None:
            """Closes the connection, also that of a client which does not read what waits for it."""
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            self._stop_unread_timer()
            super().connection_lost(exc)
            if self.on_lost is not None:
                self.on_lost()

        def data_received(self, data: bytes) -> None:
            if self._refused:
                self._discard(len(data))
                return
            self._unset_keepalive_if_required()
            self._has_ended = False
            self._unparsed += len(data)
            try:
                while data:
                    data = self._feed(data)
                if self._has_ended:
                    self._unparsed = 0  # what follows the end is at most one read, and its fields are counted
                elif self._unparsed > MAX_HEADER_BYTES:
                    raise _HeadersTooLarge
            except _HeadersTooLarge:
                self._refuse(ErrorKind.HEADERS_TOO_LARGE, _HEADERS_TOO_LARGE)
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, _HeadersTooLarge):
                    self._refuse(ErrorKind.HEADERS_TOO_LARGE, _HEADERS_TOO_LARGE)
                elif isinstance(error.__context__, _TooManyPipelined):
                    self._refused = True
                    self.cycle.keep_alive = False  # closes after the last of those that wait (RFC 9112, 9.3.2)
                else:
                    is_host = isinstance(error.__context__, _WrongHost)
                    self._refuse(ErrorKind.INVALID_REQUEST, _WRONG_HOST if is_host else _MALFORMED)

        def _feed(self, data: bytes) -> bytes:
            """Parses `data`. Returns what is to be parsed next: a request with an upgrade, without it (RFC 9110, 7.8).

            The parser ends at the headers of such a request, because what follows could be of another protocol.
            """
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._has_upgrade():
                    data = self._head_without_upgrade() + data[upgrade.args[0] :]
                    # a parser of a request that closes the connection reads nothing more
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                    return data
            return b""

        def _has_upgrade(self) -> bool:
            return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

        def _head_without_upgrade(self) -> bytes:
            version = self.parser.get_http_version().encode()
            lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
            lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
            return b"\r\n".join([*lines, b"", b""])

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._header_bytes = self._header_fields = 0
            self._start_timer(header_timeout)

        def on_url(self, url: bytes) -> None:
            super().on_url(url)
            self._count_header(len(url), 0)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count_header(len(name) + len(value) + 4, 1)
            if self.scope.get("method") is None:  # not a trailer, which would change headers that were checked
                super().on_header(name, value)

        def _count_header(self, size: int, fields: int) -> None:
            self._header_bytes += size
            self._header_fields += fields
            if self._header_bytes > MAX_HEADER_BYTES or self._header_fields > MAX_HEADER_FIELDS:
                raise _HeadersTooLarge

        def on_headers_complete(self) -> None:
            if not self._has_upgrade():
                hosts = sum(name == b"host" for name, _ in self.headers)
                codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
                if codings not in ([], [b"chunked"]):
                    raise _UnknownCoding  # RFC 9112, 6.1
                if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
                    raise _WrongHost  # RFC 9112, 3.2
                if len(self.pipeline) >= MAX_PIPELINED:
                    raise _TooManyPipelined
                if self.parser.get_http_version() == "1.0":
                    self.expect_100_continue = False  # RFC 9110, 10.1.1: such a client takes it for the answer
                self._stop_timer()
                self.idle_since = None
                super().on_headers_complete()

        def on_chunk_header(self) -> None:
            self._unparsed -= _CHUNK_FRAME

        def on_body(self, body: bytes) -> None:
            self._unparsed -= len(body)
            super().on_body(body)
            if self._discarded is not None:
                self._discard(len(body))

        def on_message_complete(self) -> None:
            if not self._has_upgrade():
                self._has_ended = True
                if self._discarded is not None:
                    self._discarded = None
                    self._stop_timer()
                super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.response_complete:  # no further request waits for its answer
                self.idle_since = time.monotonic()
            if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
                # the rest of the body is discarded, so that the connection can serve the next request
                self._discarded = 0
                self._start_timer(LINGER_SECONDS)

        def _refuse(self, kind: ErrorKind, message: str) -> None:
            """Answers what cannot be read as a request with a problem document, and closes the connection."""
            if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
                self.transport.close()  # another document cannot follow in the middle of an answer
                return
            identity = request_id_or_new(None)
            if telemetry is not None:
                telemetry.refused("rest", identity, kind.value)
            response = error_response(ServiceError(kind, message), identity)
            headers = [*response.raw_headers, (b"connection", b"close")]
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            self.transport.write(b"".join([STATUS_LINE[STATUS[kind]], *lines, b"\r\n", response.body]))
            self._linger()

        def _linger(self) -> None:
            """Closes the connection once its client has: what it still sends would make it lose the answer."""
            if self.cycle is not None:  # its request gets no more of its body
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self._discarded = 0
            self._refused = True
            self.idle_since = time.monotonic()
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self._start_timer(LINGER_SECONDS)

        def _discard(self, size: int) -> None:
            self._discarded = (self._discarded or 0) + size
            if self._discarded > LINGER_BYTES:
                self.transport.close()

        def _start_timer(self, seconds: float) -> None:
            self._stop_timer()
            self._timer = self.loop.call_later(seconds, self._end)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Protocol
