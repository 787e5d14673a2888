"""Where the Tritons are: one host:port or several. A name may stand for many servers, as a headless service does."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

Addresses: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""Tells where the servers are now, as host:port. Raises OSError when that cannot be known at present."""

RESOLVE_SECONDS: Final = 5.0
"""How long an answer of the name service is taken for true."""


class Names:
    """The addresses behind a list of names, looked up again every few seconds."""

    def __init__(self, text: str) -> None:
        """`text`: "host:port", several of them separated by commas. Raises ValueError."""
        self._found: dict[tuple[str, int], list[str]] = {target: [] for target in parse_targets(text)}
        self._looked_up = -math.inf

    async def __call__(self) -> Sequence[str]:
        if time.monotonic() - self._looked_up >= RESOLVE_SECONDS:
            await asyncio.gather(*map(self._look_up, self._found))
            self._looked_up = time.monotonic()
        found = list(dict.fromkeys(address for addresses in self._found.values() for address in addresses))
        if not found:
            self._looked_up = -math.inf
            raise OSError(f"no address is known for {', '.join(host for host, _ in self._found)}")
        return found

    async def _look_up(self, target: tuple[str, int]) -> None:
        """What was known of a name stays true while the name service does not answer."""
        with suppress(OSError):
            self._found[target] = await _addresses(*target)


def parse_targets(text: str) -> list[tuple[str, int]]:
    """Hosts and ports of "host:port,[::1]:port". Raises ValueError with a message that says what is wrong."""
    targets = []
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or "/" in host or not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{part.strip()!r} is not host:port; separate several by commas")
        targets.append((host, int(port)))
    return targets


async def _addresses(host: str, port: int) -> list[str]:
    """The addresses of one name, of one family: a server that has both is one server."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    v4 = sorted({address[0] for family, *_, address in found if family is socket.AF_INET})
    return [f"{address}:{port}" for address in v4] or sorted({f"[{address[0]}]:{port}" for *_, address in found})
