"""The addresses of the Tritons. A name may stand for many servers, as that of a headless service in Kubernetes does."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

Resolver: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""Returns the servers' current addresses, as host:port. Raises OSError when they cannot be resolved at present."""

RESOLVE_INTERVAL: Final = 5.0
"""Seconds that a resolved address is used before the name is resolved again."""


class DnsResolver:
    """The addresses behind a list of names, resolved again every few seconds."""

    def __init__(self, text: str) -> None:
        """`text`: "host:port" or "unix:PATH", several of them separated by commas. Raises ValueError."""
        self._addresses: dict[tuple[str, int], list[str]] = {target: [] for target in parse_targets(text)}
        self._resolved_at = -math.inf

    async def __call__(self) -> Sequence[str]:
        if time.monotonic() - self._resolved_at >= RESOLVE_INTERVAL:
            await asyncio.gather(*map(self._resolve, self._addresses))
            self._resolved_at = time.monotonic()
        found = list(dict.fromkeys(address for addresses in self._addresses.values() for address in addresses))
        if not found:
            self._resolved_at = -math.inf
            raise OSError(f"no address is known for {', '.join(host for host, _ in self._addresses)}")
        return found

    def host(self, address: str) -> str:
        """The name that an address was found for."""
        return next(host for (host, _), addresses in self._addresses.items() if address in addresses)

    async def _resolve(self, target: tuple[str, int]) -> None:
        """The last known addresses of a name are kept while the name service does not answer."""
        with suppress(OSError):
            self._addresses[target] = await _resolve_name(*target)


def host_of(resolve: Resolver, address: str) -> str:
    """The host that the server at an address is named after: as it was configured, or that of the address itself."""
    return resolve.host(address) if isinstance(resolve, DnsResolver) else address.rpartition(":")[0].strip("[]")


def parse_targets(text: str) -> list[tuple[str, int]]:
    """Hosts and ports of "host:port,[::1]:port,unix:PATH", where a path counts as a host with the port 0.

    Raises ValueError with a message that says what is wrong.
    """
    targets = []
    for part in text.split(","):
        if part.strip().startswith("unix:/"):
            targets.append((part.strip(), 0))
            continue
        host, _, port = part.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or "/" in host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{part.strip()!r} is not host:port or unix:PATH; separate several by commas")
        targets.append((host, int(port)))
    return targets


async def _resolve_name(host: str, port: int) -> list[str]:
    """The addresses of one name, of one family: a server with an IPv4 and an IPv6 address is one server."""
    if host.startswith("unix:"):
        return [host]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    v4 = sorted({address[0] for family, *_, address in found if family is socket.AF_INET})
    return [f"{address}:{port}" for address in v4] or sorted({f"[{address[0]}]:{port}" for *_, address in found})
