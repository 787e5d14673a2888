"""Bodies over the limit, and how much of them is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import ErrorKind, ServiceError
from service.rest import body
from service.rest.body import read_body

pytestmark = pytest.mark.anyio

LIMIT = 1000
CHUNK = 100


class Client:
    """Sends chunks for as long as they are read, and counts those that were."""

    def __init__(self, chunks: int, length: int | None = None) -> None:
        self.chunks = chunks
        self.read = 0
        self.length = length

    async def receive(self) -> dict[str, Any]:
        self.read += 1
        return {"type": "http.request", "body": bytes(CHUNK), "more_body": self.read < self.chunks}

    def request(self, receive: Callable[[], Awaitable[Any]] | None = None) -> Request:
        headers = [] if self.length is None else [(b"content-length", str(self.length).encode())]
        return Request({"type": "http", "method": "POST", "headers": headers}, receive or self.receive)


async def refusal(request: Request) -> ErrorKind:
    with pytest.raises(ServiceError) as caught:
        await read_body(request, LIMIT)
    return caught.value.kind


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    client = Client(LIMIT // CHUNK, LIMIT)
    assert await read_body(client.request(), LIMIT) == bytes(LIMIT)


@pytest.mark.parametrize(
    ("chunks", "length"),
    [
        (12, None),
        (11, 1100),
        (12, 10**30),  # impossible, and ignored
    ],
)
async def test_the_rest_of_a_body_that_is_a_little_too_long_is_discarded(chunks: int, length: int | None) -> None:
    """Most clients read the answer only when they have sent everything."""
    client = Client(chunks, length)
    assert await refusal(client.request()) is ErrorKind.TOO_MANY_BYTES
    assert client.read == chunks


@pytest.mark.parametrize(
    ("length", "read"),
    [
        (None, 11 + 11),  # one chunk over the limit, and the same once more
        (10**6, 11),
    ],
)
async def test_no_more_than_the_limit_is_discarded(length: int | None, read: int) -> None:
    client = Client(10**9, length)
    assert await refusal(client.request()) is ErrorKind.TOO_MANY_BYTES
    assert client.read == read


async def test_a_client_that_stops_sending_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_DRAIN_SECONDS", 0.01)
    client = Client(10**9)

    async def stalls() -> dict[str, Any]:
        if client.read == 11:
            await asyncio.Event().wait()
        return await client.receive()

    assert await refusal(client.request(stalls)) is ErrorKind.TOO_MANY_BYTES
    assert client.read == 11


async def test_a_client_that_goes_away_is_refused() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await refusal(Client(1).request(gone)) is ErrorKind.INVALID_REQUEST
