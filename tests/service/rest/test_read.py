"""Forms of more parts than images are answered."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from service.errors import ErrorKind, ServiceError
from service.rest.read import read_batch, read_request

pytestmark = pytest.mark.anyio


class Client:
    """Sends a form of `parts` images, each as a chunk of its own, and counts the chunks that are read."""

    def __init__(self, parts: int, name: bytes = b"image") -> None:
        self.parts = parts
        self.name = name
        self.read = 0

    async def receive(self) -> dict[str, Any]:
        self.read += 1
        if self.read > self.parts:
            return {"type": "http.request", "body": b"--b--\r\n", "more_body": False}
        disposition = b'Content-Disposition: form-data; name="%b"; filename="a"' % self.name
        return {"type": "http.request", "body": b"--b\r\n" + disposition + b"\r\n\r\nx\r\n", "more_body": True}

    def request(self) -> Request:
        headers = [(b"content-type", b"multipart/form-data; boundary=b")]
        return Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, self.receive)


async def test_a_batch_of_as_many_images_as_are_answered_is_read() -> None:
    requests = await read_batch(Client(3).request(), 10_000, max_images=3)
    assert [request.image for request in requests if not isinstance(request, ServiceError)] == [b"x"] * 3


@pytest.mark.parametrize("name", [b"image", b"options", b"other"])
async def test_a_batch_of_many_parts_is_refused_when_the_first_beyond_the_limit_begins(name: bytes) -> None:
    client = Client(10_000, name)
    with pytest.raises(ServiceError, match="more parts than 3 images") as caught:
        await read_batch(client.request(), 10**9, max_images=3)
    assert caught.value.kind is ErrorKind.TOO_MANY_IMAGES
    assert client.read == 5  # three images, their options, and the part that is too many


async def test_many_parts_where_one_image_is_expected() -> None:
    client = Client(10_000)
    with pytest.raises(ServiceError, match="/v1/landmarks/batch") as caught:
        await read_request(client.request(), 10**9)
    assert caught.value.kind is ErrorKind.INVALID_REQUEST
    assert client.read == 3
