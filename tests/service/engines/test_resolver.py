import asyncio
import socket

import pytest

from service.engines.triton import resolver as addresses
from service.engines.triton.resolver import Names, parse_targets


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("triton:8001", [("triton", 8001)]),
        ("a:1, b:65535", [("a", 1), ("b", 65535)]),
        ("[::1]:8001,127.0.0.1:8001", [("::1", 8001), ("127.0.0.1", 8001)]),
    ],
)
def test_targets_are_read(text: str, targets: list[tuple[str, int]]) -> None:
    assert parse_targets(text) == targets


@pytest.mark.parametrize(
    "text", ["", "triton", ":8001", "triton:", "triton:0", "triton:65536", "a:1,", "grpc://a:1", "a:x"]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_targets(text)


Found = list[tuple[int, int, int, str, tuple[str, int]]]


class NameService:
    """Stands in for the system's: names in `known` resolve, others do not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, list[tuple[int, str]]] = {}
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(addresses, "RESOLVE_SECONDS", 0.0)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> Found:
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in self.known[host]]


def test_a_name_stands_for_every_server_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    service = NameService(monkeypatch)
    service.known["triton"] = [(socket.AF_INET, "10.0.0.2"), (socket.AF_INET, "10.0.0.1"), (socket.AF_INET6, "fd00::1")]
    service.known["six"] = [(socket.AF_INET6, "fd00::2")]
    names = Names("triton:8001,10.0.0.1:8001,six:9")
    service.known["10.0.0.1"] = [(socket.AF_INET, "10.0.0.1")]
    assert asyncio.run(names()) == ["10.0.0.1:8001", "10.0.0.2:8001", "[fd00::2]:9"]


def test_what_was_known_stays_true_while_the_name_service_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    service = NameService(monkeypatch)

    async def run() -> None:
        names = Names("a:1,b:1")
        with pytest.raises(OSError, match="no address is known for a, b"):
            await names()
        service.known["a"] = [(socket.AF_INET, "10.0.0.1")]
        assert await names() == ["10.0.0.1:1"]
        service.known = {"b": [(socket.AF_INET, "10.0.0.2")]}
        assert await names() == ["10.0.0.1:1", "10.0.0.2:1"]

    asyncio.run(run())


def test_the_systems_own_name_service_is_asked() -> None:
    assert asyncio.run(Names("localhost:7")()) == ["127.0.0.1:7"]
