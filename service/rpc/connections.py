"""The connections of gRPC, as the kernel sees them: gRPC shows neither them nor what of a message has arrived.

gRPC itself limits only their number in all, so that one client could hold every one of them (decision 0042).
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

from service.rest.listener import ConnectionLimits, peer_of

SECONDS: Final = 0.5
"""Between two looks at the connections."""
_DESCRIPTORS: Final = Path("/proc/self/fd")
_IDLE, _RECEIVED, _INFO_BYTES = 52, 128, 136
"""Offsets in the kernel's `struct tcp_info`: milliseconds since data arrived, bytes received; and what is needed."""


class Peer(NamedTuple):
    """The other end of a connection."""

    address: str
    port: int


def peer_of_call(text: str) -> Peer | None:
    """The peer that gRPC writes as ipv4:10.0.0.7:1234 or ipv6:%5B::1%5D:1234; None for another kind of connection."""
    kind, _, rest = unquote(text).partition(":")
    address, _, port = rest.rpartition(":")
    return Peer(address.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") else None


def bytes_received() -> dict[Peer, int]:
    """Bytes that have arrived on each connection of this process; none where the system does not say."""
    return {peer: _info(sock)[1] for sock, peer in _connections()}


def close_connection(peer: Peer) -> None:
    """Closes the connection with this peer at once."""
    for sock, each in _connections():
        if each == peer:
            _close(sock)


def close_surplus(port: int, limits: ConnectionLimits) -> int:
    """Closes connections to this port, those first on which nothing has arrived for longest, until every peer has at
    most its limit of them and a tenth of the total is free. Returns how many.
    """
    if len(_descriptors()) <= min(limits.per_peer, _most(limits)):
        return 0
    found = [(_info(sock)[0], each) for sock, each in _connections() if _local_port(sock) == port]
    found.sort(reverse=True)
    by_peer = Counter(peer_of(peer.address) for _, peer in found)
    left, surplus = len(found), set()
    for _, peer in found:
        if by_peer[peer_of(peer.address)] > limits.per_peer or left > _most(limits):
            by_peer[peer_of(peer.address)] -= 1
            left -= 1
            surplus.add(peer)
    for sock, peer in _connections():
        if peer in surplus and _local_port(sock) == port:
            _close(sock)
    return len(surplus)


async def keep_within(port: int, limits: ConnectionLimits, closed: Callable[[str], None]) -> None:
    """Closes surplus connections until it is cancelled. `closed`: called for each of them, with "idle"."""
    while True:
        for _ in range(await asyncio.to_thread(close_surplus, port, limits)):
            closed("idle")
        await asyncio.sleep(SECONDS)


def _close(sock: socket.socket) -> None:
    with suppress(OSError):  # the client has closed it
        sock.shutdown(socket.SHUT_RDWR)


def _most(limits: ConnectionLimits) -> int:
    return limits.total - limits.total // 10


def _descriptors() -> list[int]:
    """The open files of this process; none where the system has no such list."""
    try:
        return [int(entry.name) for entry in os.scandir(_DESCRIPTORS)]
    except OSError:
        return []


def _connections() -> Iterator[tuple[socket.socket, Peer]]:
    """Every TCP connection of this process, open until the next one is asked for."""
    for number in _descriptors():
        with suppress(OSError), _duplicate(number) as sock:
            if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
                address, port = sock.getpeername()[:2]
                # gRPC's sockets are those of IPv6 also for IPv4, of which its calls say nothing
                yield sock, Peer(address.removeprefix("::ffff:"), port)


@contextmanager
def _duplicate(number: int) -> Iterator[socket.socket]:
    """The socket of a descriptor, under one that nobody else closes. Raises OSError where it is no socket."""
    copy = os.dup(number)
    if not stat.S_ISSOCK(os.fstat(copy).st_mode):
        os.close(copy)
        raise OSError("no socket")
    with socket.socket(fileno=copy) as sock:
        yield sock


def _info(sock: socket.socket) -> tuple[int, int]:
    """Milliseconds since data arrived, and the bytes that have. Raises OSError."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    if len(info) < _INFO_BYTES:
        raise OSError("the kernel does not count bytes")
    return struct.unpack_from("=I", info, _IDLE)[0], struct.unpack_from("=Q", info, _RECEIVED)[0]


def _local_port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])
