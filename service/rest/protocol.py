"""Uvicorn's HTTP protocol with what it lacks: a timeout for headers, ignored upgrades, and refusals as problems."""

from __future__ import annotations

import asyncio
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import ErrorKind, ServiceError
from service.request_ids import request_id_or_new
from service.rest.errors import error_response

_MALFORMED: Final = (
    "the bytes received are not an HTTP/1.1 request (and TLS is spoken only on a server with a certificate)"
)


def http_protocol(header_timeout: float) -> type[HttpToolsProtocol]:
    """The protocol of a server that disconnects a client whose request's headers take longer, in seconds."""

    class Protocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._unset_keepalive_if_required()
            try:
                while data:
                    data = self._feed(data)
            except httptools.HttpParserError:
                self.send_400_response(_MALFORMED)

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
            self._start_timer()

        def on_headers_complete(self) -> None:
            if not self._has_upgrade():
                self._stop_timer()
                super().on_headers_complete()

        def on_message_complete(self) -> None:
            if not self._has_upgrade():
                super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            """Answers bytes that are not HTTP with a problem document, and closes the connection."""
            if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
                self.transport.close()  # another document cannot follow in the middle of an answer
                return
            response = error_response(ServiceError(ErrorKind.INVALID_REQUEST, msg), request_id_or_new(None))
            headers = [*response.raw_headers, (b"connection", b"close")]
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            self.transport.write(b"".join([STATUS_LINE[400], *lines, b"\r\n", response.body]))
            self.transport.close()

        def _start_timer(self) -> None:
            self._stop_timer()
            self._timer = self.loop.call_later(header_timeout, self.transport.close)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Protocol
