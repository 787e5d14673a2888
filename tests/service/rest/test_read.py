"""Forms of more parts than images are answered."""

from __future__ import annotations

import base64
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import ErrorKind, ServiceError
from service.rest import read
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


def posted(body: bytes, media_type: bytes = b"application/json") -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", media_type)]
    return Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)


BASE64 = base64.b64encode(bytes(range(256)) * 10_000)  # 3.4 MB, with slashes and padding


@pytest.mark.parametrize(
    "body",
    [
        b'{"topk": 3, "image": "%b"}' % BASE64,
        b'{"image" :\n"%b", "topk": 3}' % BASE64,
        b'{"image": 3, "topk": 3, "image": "%b"}' % BASE64,
        b'{"image": "%b", "topk": 3}' % BASE64.replace(b"/", b"\\/"),
        b'{"image": "%b", "topk": 3}' % BASE64.replace(b"/", b"\\u002f").replace(b"A", b"\\u0041"),
    ],
    ids=["last", "first", "twice", "escaped slashes", "other escapes"],
)
async def test_the_image_of_json_may_be_large(body: bytes) -> None:
    request = await read_request(posted(body), 10**7)
    assert (request.image, request.options.topk) == (bytes(range(256)) * 10_000, 3)


@pytest.mark.parametrize("escaped", [False, True])
async def test_base64_is_decoded_in_pieces_in_a_thread(escaped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large piece would hold up the event loop, and so would a small one that is decoded in it."""
    calls: list[tuple[int, bool]] = []

    def b64decode(text: bytes, **options: Any) -> bytes:
        calls.append((len(text), threading.current_thread() is threading.main_thread()))
        return base64.b64decode(text, **options)

    monkeypatch.setattr(read, "base64", SimpleNamespace(b64decode=b64decode))
    text = BASE64.replace(b"/", b"\\/") if escaped else BASE64
    await read_request(posted(b'{"image": "%b"}' % text), 10**7)
    assert max(calls) <= (2**20 + 4, False)
    assert len(calls) >= 4


BOXES = b"[" + b",".join([b"[1,2,3,4]"] * 110_000) + b"]"  # 1.1 MB


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": "AAAA", "boxes": %b}' % BOXES,
        b'{"boxes": %b, "image": "AAAA"}' % BOXES,
        b'{"image": {"image": "%b"}, "boxes": %b}' % (BASE64, BOXES),
        b'{"image": "AAAA", "model": "%b"}' % BASE64,
    ],
    ids=["after", "before", "nested", "another string"],
)
async def test_no_more_than_a_mebibyte_of_json_beside_the_image_is_parsed(body: bytes) -> None:
    with pytest.raises(ServiceError, match="beside the image") as caught:
        await read_request(posted(body), 10**7)
    assert caught.value.kind is ErrorKind.TOO_MANY_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": [%b]}' % b",".join([b"255"] * 70_000),
        b'{"image": "%b\\""}' % BASE64,
        b'{"picture": "%b"}' % BASE64,
        b"[%b]" % b",".join([b"1"] * 70_000),
    ],
    ids=["numbers", "escaped", "another name", "no object"],
)
async def test_a_large_body_without_an_image_in_base64_is_told_that_it_lacks_one(body: bytes) -> None:
    with pytest.raises(ServiceError, match="needs 'image'") as caught:
        await read_request(posted(body), 10**7)
    assert caught.value.kind is ErrorKind.INVALID_REQUEST


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_json_in_another_encoding_is_told_so_whatever_its_size(encoding: str) -> None:
    for text in ("AAAA", BASE64.decode()):
        with pytest.raises(ServiceError, match="not JSON in UTF-8") as caught:
            await read_request(posted(f'{{"image": "{text}"}}'.encode(encoding)), 10**7)
        assert caught.value.kind is ErrorKind.INVALID_REQUEST


@pytest.mark.parametrize("boxes", [b"[" + b"[]," * 40_000 + b"1]", b"[" * 70_000, b"[" + b"1," * 70_000 + b"1]"])
async def test_values_are_counted_before_they_are_parsed(boxes: bytes) -> None:
    """Malformed JSON is refused for their number as well."""
    for body in (b'{"image": "AAAA", "boxes": %b}' % boxes, b'{"image": "AAAA", "boxes": %b' % boxes):
        with pytest.raises(ServiceError, match="more than 65536 values") as caught:
            await read_request(posted(body), 10**7)
        assert caught.value.kind is ErrorKind.TOO_MANY_BOXES


@pytest.mark.parametrize("text", [b"AA=A", b"A", b"A===", BASE64[: 2**20 - 4] + b"AA==" + BASE64, b"\xff", b"\\ud800"])
async def test_what_is_not_base64(text: bytes) -> None:
    with pytest.raises(ServiceError, match="not base64") as caught:
        await read_request(posted(b'{"image": "%b"}' % text), 10**7)
    assert caught.value.kind is ErrorKind.INVALID_REQUEST


async def test_options_in_a_file_are_as_small_as_those_in_a_field() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="a"\r\n\r\n'
    form = head % b"image" + b"x\r\n" + head % b"options" + b'{"boxes": %b}' % BOXES + b"\r\n--b--\r\n"
    for reading in (read_request(posted(form, FORM), 10**7), read_batch(posted(form, FORM), 10**7, max_images=3)):
        with pytest.raises(ServiceError, match="beside the image") as caught:
            await reading
        assert caught.value.kind is ErrorKind.TOO_MANY_BYTES


FORM = b"multipart/form-data; boundary=b"
