"""Requests with an upgrade that is not taken, and bytes that are not HTTP, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import orjson
import pytest

from service.gateway import Gateway
from tests.contract.test_timeouts import answer_to, rest_port
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
BOX = "20.5,30.5,200.5,210.5"
UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"Upgrade: TLS/1.0\r\nConnection: upgrade\r\n",
]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    gateway: Gateway = make_gateway(FakeEngine(), FakeDetector())
    async with rest_port(gateway, read_timeout=5) as number:
        yield number


def head(*lines: bytes, length: int | None = len(IMAGE)) -> bytes:
    size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    start = f"POST /v1/landmarks?box={BOX} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n".encode()
    return start + size + b"\r\n" + b"".join(lines) + b"\r\n"


CLOSING = head(b"Connection: close\r\n") + IMAGE


def bodies(answer: bytes) -> list[dict[str, object]]:
    """The JSON of each answer on a connection, without what differs between two answers."""
    found = []
    while answer:
        start, _, rest = answer.partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 200 "), start
        length = int(start.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append(orjson.loads(rest[:length])["faces"])
        answer = rest[length:]
    return found


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_an_upgrade_is_ignored_and_the_connection_serves_the_next_request(port: int, upgrade: bytes) -> None:
    first, second = bodies(await answer_to(port, head(upgrade) + IMAGE + CLOSING))
    assert first == second


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_an_upgrade_in_pieces_of_every_size(port: int, upgrade: bytes) -> None:
    request = head(upgrade) + IMAGE + head(upgrade) + IMAGE + CLOSING
    cuts = [*range(0, len(head(upgrade)) + 2, 7), *range(len(head(upgrade)) + 2, len(request), 4001), len(request)]
    pieces = [request[start:end] for start, end in pairwise(cuts)]
    assert len(bodies(await answer_to(port, *pieces))) == 3


async def test_a_chunked_body_with_an_upgrade(port: int) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(IMAGE), IMAGE)
    assert len(bodies(await answer_to(port, head(UPGRADES[0], length=None) + chunked + CLOSING))) == 2


async def test_an_upgrade_of_http_1_0_and_one_without_a_body(port: int) -> None:
    old = head(UPGRADES[0]).replace(b"HTTP/1.1", b"HTTP/1.0") + IMAGE
    assert len(bodies(await answer_to(port, old))) == 1
    answer = await answer_to(
        port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the start of a TLS handshake
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/landmarks HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/landmarks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_a_problem_document(port: int, garbage: bytes) -> None:
    start, _, body = (await asyncio.wait_for(answer_to(port, garbage), 30)).partition(b"\r\n\r\n")
    lines = start.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 400 Bad Request"
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    problem = orjson.loads(body)
    assert (problem["code"], problem["status"]) == ("invalid_request", 400)
    assert b"x-request-id: " + problem["request_id"].encode() in lines
