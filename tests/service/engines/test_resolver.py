import asyncio
import socket
from types import SimpleNamespace

import pytest

from service.engines.triton import resolver
from service.engines.triton.resolver import RESOLVE_INTERVAL, DnsResolver, parse_targets

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("triton:8001", [("triton", 8001)]),
        ("a:1, b:65535", [("a", 1), ("b", 65535)]),
        ("[::1]:8001,127.0.0.1:8001", [("::1", 8001), ("127.0.0.1", 8001)]),
    ],
)
def test_targets_are_parsed(text: str, targets: list[tuple[str, int]]) -> None:
    assert parse_targets(text) == targets


@pytest.mark.parametrize(
    "text", ["", "triton", ":8001", "triton:", "triton:0", "triton:65536", "a:1,", "grpc://a:1", "a:x"]
)
def test_invalid_targets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_targets(text)


Found = list[tuple[int, int, int, str, tuple[str, int]]]


class NameService:
    """Stands in for the system's name service and its clock. Names in `known` resolve, others do not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, list[tuple[int, str]]] = {}
        self.now = 1000.0
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(resolver, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def getaddrinfo(self, host: str, port: int, **_: object) -> Found:
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in self.known[host]]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> NameService:
    return NameService(monkeypatch)


async def test_a_name_stands_for_every_server_behind_it(service: NameService) -> None:
    service.known["triton"] = [(socket.AF_INET, "10.0.0.2"), (socket.AF_INET, "10.0.0.1"), (socket.AF_INET6, "fd00::1")]
    service.known["six"] = [(socket.AF_INET6, "fd00::2")]
    service.known["10.0.0.1"] = [(socket.AF_INET, "10.0.0.1")]
    resolve = DnsResolver("triton:8001,10.0.0.1:8001,six:9")
    assert await resolve() == ["10.0.0.1:8001", "10.0.0.2:8001", "[fd00::2]:9"]


async def test_known_addresses_are_kept_while_the_name_service_does_not_answer(service: NameService) -> None:
    resolve = DnsResolver("a:1,b:1")
    with pytest.raises(OSError, match="no address is known for a, b"):
        await resolve()
    service.known["a"] = [(socket.AF_INET, "10.0.0.1")]
    assert await resolve() == ["10.0.0.1:1"]  # at once, because nothing was known
    service.known = {"b": [(socket.AF_INET, "10.0.0.2")]}
    service.now += RESOLVE_INTERVAL
    assert await resolve() == ["10.0.0.1:1", "10.0.0.2:1"]


async def test_a_name_is_resolved_again_after_five_seconds_and_not_before(service: NameService) -> None:
    resolve = DnsResolver("a:1")
    service.known["a"] = [(socket.AF_INET, "10.0.0.1")]
    assert await resolve() == ["10.0.0.1:1"]
    service.known["a"] = [(socket.AF_INET, "10.0.0.2")]
    service.now += 4.9
    assert await resolve() == ["10.0.0.1:1"]
    service.now += 0.1
    assert await resolve() == ["10.0.0.2:1"]


async def test_the_system_name_service_is_used() -> None:
    assert await DnsResolver("localhost:7")() == ["127.0.0.1:7"]
