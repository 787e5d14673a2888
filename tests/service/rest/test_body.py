"""Bodies over the limit, and how much of them is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import ErrorKind, ServiceError
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
    ("length", "read"),
    [
        (None, 11),  # one chunk over the limit
        (1100, 0),
        (2**64 - 1, 0),
        (10**30, 0),
    ],
)
async def test_nothing_is_read_beyond_the_limit(length: int | None, read: int) -> None:
    client = Client(10**9, length)
    assert await refusal(client.request()) is ErrorKind.TOO_MANY_BYTES
    assert client.read == read


async def test_a_client_that_goes_away_is_refused() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await refusal(Client(1).request(gone)) is ErrorKind.INVALID_REQUEST
