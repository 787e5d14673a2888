"""Requests with an upgrade that is not taken, and bytes that are not HTTP, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import orjson
import pytest

from service.gateway import Gateway
from service.rest import protocol
from service.server import metrics_server
from service.settings import Settings
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


async def test_only_a_client_of_http_1_1_is_told_to_continue(port: int) -> None:
    """One of HTTP/1.0 takes the first status for the answer."""
    new = head(b"Expect: 100-continue\r\nConnection: close\r\n") + IMAGE
    assert (await answer_to(port, new)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    old = new.replace(b" HTTP/1.1", b" HTTP/1.0")
    assert (await answer_to(port, old)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the start of a TLS handshake
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/landmarks HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/landmarks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"POST /v1/landmarks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
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


TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
LINE = b"X-A: " + b"a" * 1000 + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
START = b"POST /v1/landmarks HTTP/1.1\r\nHost: x\r\n"
UPLOAD = START + b"Content-Type: image/png\r\n" + CHUNKED + b"\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [START, 17 * LINE, b"\r\n"],
        [START, 99 * b"a:\r\n", b"a:\r\n\r\n"],
        [START, b"X-A: ", *[b"a" * 1000] * 17],  # a line that does not end
        [b"GET /", b"a" * 17_000, b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [b"\r\n" * 9000],
        [UPLOAD, b"3", b";a=" + b"b" * 300_000, b"\r\nabc\r\n0\r\n\r\n"],
        [UPLOAD, b"3\r\nabc\r\n0\r\n", 17 * LINE, b"\r\n"],
        [UPLOAD, b"3\r\nabc\r\n0\r\n", 100 * b"a:\r\n", b"\r\n"],
    ],
    ids=[
        "bytes",
        "fields",
        "a value without an end",
        "a target",
        "line ends",
        "an extension",
        "trailers",
        "trailing fields",
    ],
)
async def test_headers_of_more_than_a_limit_are_refused(pieces: list[bytes]) -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector())
    async with rest_port(gateway, read_timeout=30) as port:
        start, _, body = (await answer_to(port, *pieces)).partition(b"\r\n\r\n")
    assert start.split(b"\r\n")[0] == TOO_LARGE
    assert b"connection: close" in start.split(b"\r\n")
    assert orjson.loads(body)["code"] == "headers_too_large"
    counted = 'landmarks_requests_total{code="headers_too_large",door="rest",protocol="rest"} 1.0'
    assert counted in gateway.metrics.text().decode()


@pytest.mark.parametrize(
    ("lines", "version", "status"),
    [
        (b"", b"1.1", b"400"),
        (b"Host: a\r\nHost: a\r\n", b"1.1", b"400"),
        (b"Host: a\r\nhost: b\r\n", b"1.0", b"400"),
        (b"", b"1.0", b"200"),
        (b"Host:\r\n", b"1.1", b"200"),
    ],
)
async def test_a_request_has_one_host(port: int, lines: bytes, version: bytes, status: bytes) -> None:
    answer = await answer_to(port, b"GET /healthz HTTP/" + version + b"\r\nConnection: close\r\n" + lines + b"\r\n")
    assert answer.split(b" ")[1] == status
    assert status == b"200" or b"exactly one header Host" in answer


async def test_pipelined_requests_beyond_the_limit_are_not_answered(port: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await answer_to(port, request * 5000)
    # the first is answered while the others wait
    assert answer.count(b"HTTP/1.1 200 ") == 1 + protocol.MAX_PIPELINED
    assert len(await answer_to(port, request * 10 + CLOSING)) > 0


async def test_a_client_that_does_not_read_its_answers_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.05)
    gateway = make_gateway(FakeEngine(), FakeDetector())
    async with rest_port(gateway, read_timeout=30) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        with pytest.raises(ConnectionError):
            await send_and_do_not_read(writer, request)
        writer.close()


async def send_and_do_not_read(writer: asyncio.StreamWriter, request: bytes) -> None:
    """Sends requests until neither side has room for an answer, and waits for the end of the connection."""
    while True:
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(0)


async def test_the_port_of_the_metrics_has_the_same_limits() -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector())
    async with metrics_server(Settings(metrics_port=0), gateway) as port:
        assert port is not None
        answer = await answer_to(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + 17 * LINE + b"\r\n")
    assert answer.startswith(TOO_LARGE)


async def test_headers_up_to_the_limits_are_read_in_every_request_of_a_connection(port: int) -> None:
    lines = [b"X-A: " + b"a" * 120 + b"\r\n"] * 95  # 5 more fields, 12 kB
    requests = 3 * (head(*lines) + IMAGE) + head(*lines[1:], b"Connection: close\r\n") + IMAGE
    assert len(bodies(await answer_to(port, requests))) == 4


async def test_a_body_of_small_chunks_is_no_header(port: int) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in IMAGE)
    closing = head(b"Connection: close\r\n", length=None)
    assert len(bodies(await answer_to(port, closing + chunks + b"0\r\n\r\n"))) == 1


async def test_trailers_change_no_header(port: int) -> None:
    """The application reads its headers when the body, and with it the trailers, has been received."""
    body = b"%x\r\n%b\r\n0\r\nAccept: application/msgpack\r\n\r\n" % (len(IMAGE), IMAGE)
    assert len(bodies(await answer_to(port, head(b"Connection: close\r\n", length=None) + body))) == 1


async def test_a_client_that_sends_on_after_its_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_BYTES", 1000)
    async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=30) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 405 ")
        writer.write(bytes(2000))
        with suppress(ConnectionError):
            assert b"HTTP/1.1" not in await reader.read()
        writer.close()
