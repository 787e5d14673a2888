"""Requests that are answered while their client still sends the body, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
from http.client import HTTPConnection

import orjson
import pytest

from service.rest import timeouts
from service.security.api_keys import ApiKeys, Protection
from tests.contract.apis import open_apis
from tests.contract.test_timeouts import answer_to, rest_port
from tests.fakes import FakeDetector, FakeEngine, make_gateway

pytestmark = pytest.mark.anyio

KEY = {"X-API-Key": "key"}
BODY = bytes(16_000_000)
"""More than fits into the buffers of a socket."""
PROTECTION = Protection(ApiKeys({"ana": hashlib.sha256(b"key").digest()}))


@pytest.mark.parametrize(
    ("path", "headers", "limits", "status", "code"),
    [
        ("/v1/landmarks", {}, {}, 401, "unauthenticated"),
        ("/v1/landmarks", KEY | {"Content-Type": "text/plain"}, {}, 415, "unsupported_media_type"),
        ("/v1/landmarks", KEY, {"max_in_flight": 0}, 429, "overloaded"),
        ("/v1/landmarks", KEY | {"X-Request-Timeout": "x"}, {}, 400, "invalid_request"),
        ("/v1/landmarks", KEY, {}, 413, "too_many_bytes"),
        ("/healthz", KEY, {}, 405, "method_not_allowed"),
    ],
)
async def test_a_client_that_still_sends_receives_the_answer(
    path: str, headers: dict[str, str], limits: dict[str, int], status: int, code: str
) -> None:
    def post(address: str) -> tuple[int, str]:
        connection = HTTPConnection(address, timeout=60)
        connection.request("POST", path, BODY, {"Connection": "close", "Content-Type": "image/png", **headers})
        response = connection.getresponse()
        return response.status, orjson.loads(response.read())["code"]

    gateway = make_gateway(FakeEngine(), FakeDetector(), **limits)
    async with open_apis(gateway, PROTECTION) as apis:
        address = apis["rest"].url.removeprefix("http://")
        assert await asyncio.to_thread(post, address) == (status, code)


async def test_a_client_that_stops_sending_receives_the_answer_and_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timeouts, "LINGER_SECONDS", 0.05)
    head = b"POST /v1/landmarks HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n"
    async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=30) as port:
        answer = await answer_to(port, head + b"the beginning")
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "unsupported_media_type"


async def test_no_more_than_a_limit_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "LINGER_BYTES", 1)
    head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
    async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=30) as port:
        assert (await answer_to(port, head + b"the beginning")).startswith(b"HTTP/1.1 405 ")
