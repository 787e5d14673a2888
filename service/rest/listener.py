"""The listening socket of an HTTP server: limits of connections, in total and of one peer; idle ones give way.

asyncio's own server has no limit, and logs thousands of lines a second once the process has no descriptor left. Here a
connection counts from its acceptance, so that those whose TLS handshake never begins count as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from service.security.tls import Tls

logger = logging.getLogger(__name__)

BACKLOG: Final = 128
"""Connections that the kernel completes before they are accepted."""
HANDSHAKE_SECONDS: Final = 10.0
"""For the handshake of TLS."""
_RETRY_SECONDS: Final = 0.5
_LOG_SECONDS: Final = 60.0


@dataclass(frozen=True)
class ConnectionLimits:
    """Most open connections of one server."""

    total: int = 1000
    per_peer: int = 500
    """Of one IPv4 address, or of one IPv6 network of 64 bits, which is what one client has."""


class HttpConnection(asyncio.Protocol):
    """The protocol of a connection, with what the listener needs."""

    idle_since: float | None = None
    """`time.monotonic()` of when it began to have no request to answer; None while it has one."""
    on_lost: Callable[[], None] | None = None
    """Called when the connection has ended."""


class Connection:
    """One accepted connection, before and after its handshake."""

    def __init__(self, sock: socket.socket, peer: str, protocol: HttpConnection) -> None:
        self.peer = peer
        self.protocol = protocol
        self.task: asyncio.Task[None] | None = None
        self._socket = sock
        self._transport: asyncio.BaseTransport | None = None

    async def open(self, context: ssl.SSLContext | None) -> None:
        """Makes the handshake, and hands the connection to its protocol. Raises OSError, of which SSL's are kinds."""
        loop, seconds = asyncio.get_running_loop(), None if context is None else HANDSHAKE_SECONDS
        self._transport, _ = await loop.connect_accepted_socket(
            lambda: self.protocol,
            self._socket,
            ssl=context,
            ssl_handshake_timeout=seconds,
        )

    def abort(self) -> None:
        """Ends it at once."""
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()
        elif self.task is not None:
            self.task.cancel()


class Listener:
    """Accepts the connections of one socket. Like an asyncio.Server, as far as uvicorn uses one."""

    def __init__(
        self,
        sock: socket.socket,
        make_protocol: Callable[[], HttpConnection],
        limits: ConnectionLimits,
        tls: Tls | None = None,
        closed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Starts to accept. Raises OSError when another socket listens on the port.

        `closed`: called for each connection that the limits close, with "idle" for one that gave way to a new one, and
        "refused" for a new one to which none could give way.
        """
        self._socket, self._make_protocol, self._limits, self._tls = sock, make_protocol, limits, tls
        self._closed = closed
        self._connections: dict[Connection, None] = {}
        self._logged = -_LOG_SECONDS
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._task = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accepts no more; the connections stay."""
        self._task.cancel()

    async def wait_closed(self) -> None:
        with suppress(asyncio.CancelledError):
            await self._task

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._socket)
            except OSError as error:
                self._log("no connection is accepted (%s): raise the limit of open files, ulimit -n", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            peer = peer_of(address[0])
            if self._has_room(peer):
                connection = Connection(sock, peer, self._make_protocol())
                self._connections[connection] = None
                connection.task = asyncio.create_task(self._open(connection))
            else:
                sock.close()
                self._closed("refused")
                self._log("connections of %s are refused: %d are open", peer, len(self._connections))
            await asyncio.sleep(0)  # other work gets its turn while many connections wait

    async def _open(self, connection: Connection) -> None:
        connection.protocol.on_lost = lambda: self._forget(connection)
        try:
            await connection.open(None if self._tls is None else self._tls.context)
        except OSError:  # no TLS, or no more of it
            self._forget(connection)
        except asyncio.CancelledError:
            self._forget(connection)
            raise

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _has_room(self, peer: str) -> bool:
        """Whether a connection of this peer may be added; one that is idle is closed for it where need be."""
        of_peer = [connection for connection in self._connections if connection.peer == peer]
        if len(of_peer) >= self._limits.per_peer:
            return self._close_one_of(of_peer)
        return len(self._connections) < self._limits.total or self._close_one_of(self._connections)

    def _close_one_of(self, connections: Collection[Connection]) -> bool:
        """Closes the one that has been idle longest."""
        idle = [(each.protocol.idle_since, each) for each in connections if each.protocol.idle_since is not None]
        if not idle:
            return False
        _, connection = min(idle, key=lambda pair: pair[0])
        self._forget(connection)
        connection.abort()
        self._closed("idle")
        return True

    def _log(self, text: str, *values: object) -> None:
        """At most once a minute: a log that grows with the connections would be the next thing to run out."""
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            logger.warning(text, *values)


@lru_cache(maxsize=1024)
def peer_of(address: str) -> str:
    """What counts as one peer: an IPv4 address, also one that is written as IPv6, or an IPv6 network of 64 bits."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
