"""One deadline for all that a request does on the network.

httpx's own timeouts are for each read and each write alone: a service that sends a byte now and then never meets them.
Code that awaits has `asyncio.wait_for`; code that waits has this.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

_PIECE: Final = 65536
"""Bytes sent between two looks at the clock."""


class DeadlineTransport(httpx.HTTPTransport):
    """httpx's own, but the `timeout` of a request is the moment of `time.monotonic()` at which it must have ended.

    Only looking up the name of a host is not cut short.
    """

    def __init__(self, tls: ssl.SSLContext | None, limits: httpx.Limits) -> None:
        super().__init__(verify=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Network(),
        )


class _Network(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(host, port, _left(timeout), local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], _left(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(end: float | None) -> float | None:
    """Seconds until the moment `end`. Raises httpcore.TimeoutException where it is over."""
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.TimeoutException
    return left
