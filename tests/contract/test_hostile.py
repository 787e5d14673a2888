"""Hundreds of damaged and hostile inputs to both APIs: every one is answered, none by a fault of the service."""

from __future__ import annotations

import asyncio
import re
import string
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import numpy as np
import orjson
import pytest
from grpc_status import rpc_status

from landmarks.codec import Decoded
from service.errors import ErrorKind
from service.observability.request_scope import round_trip
from service.wire.problem import STATUS as HTTP
from tests.contract.apis import open_apis
from tests.contract.hostile import BOX, Case, Http, ImageCase, Message, Wire, corpus
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

SEED = 5
CASES = corpus(SEED)
CONCURRENCY = 8
LIMITS = {"max_in_flight": 4 * CONCURRENCY, "max_bytes": 100_000, "max_pixels": 250_000, "request_timeout": 600.0}

OWN_FAULTS = {ErrorKind.INTERNAL.value, ErrorKind.UNAVAILABLE.value, ErrorKind.OVERLOADED.value}
CODES = {kind.value for kind in ErrorKind} - OWN_FAULTS
STATUS = {kind.value: status for kind, status in HTTP.items()}
GRPC_ALONE = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""What gRPC answers before the service sees the call: no such method, and a message or metadata over its limits."""


class ForwardingEngine(FakeEngine):
    """Forwards what every engine forwards of a request: its trace. gRPC refuses other characters, Triton more bytes."""

    async def infer(self, crops: np.ndarray, **options: Any) -> Decoded:
        with round_trip() as headers:
            assert all(re.fullmatch(r"[\x20-\x7e]*", value) for value in headers.values())
            assert sum(map(len, headers.values())) < 8192
            return await super().infer(crops, **options)


def test_the_corpus_is_large_and_always_the_same() -> None:
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
    assert corpus(SEED) == CASES


@pytest.mark.anyio
@pytest.mark.parametrize("part", range(8))
async def test_every_input_is_answered_and_none_by_a_fault(part: int) -> None:
    """In eight parts, so that a crash is seen where it happens."""
    gateway = make_gateway(ForwardingEngine(), FakeDetector(((5, 5, 60, 60), 0.9)), **LIMITS)
    async with open_apis(gateway) as apis:
        slots = asyncio.Semaphore(CONCURRENCY)
        apis["rest"].client.timeout = None  # a busy machine is no fault of the service

        async def send(case: Case) -> list[str]:
            async with slots:
                return [f"{case.name}: {problem}" for problem in await SEND[type(case)](apis, case)]

        found = await asyncio.gather(*(send(case) for case in CASES[part::8]))
        for api in apis.values():  # the service still works
            assert (await api.ask(encoded(gradient_image()), boxes=[BOX])).code == "ok"
    metrics = gateway.metrics.text().decode()
    assert [problem for problems in found for problem in problems] == []
    counted = re.findall(r'^\w+_total\{code="internal".*\} (.+)$', metrics, re.MULTILINE)
    assert set(counted) == {"0.0"}
    assert "landmarks_in_flight 0.0" in metrics


async def send_image(apis: dict[str, Any], case: ImageCase) -> list[str]:
    codes = [(await api.ask(case.image, **case.options)).code for api in apis.values()]
    problems = [f"an untyped failure {code!r}" for code in codes if code not in CODES | {"ok"}]
    return problems + ([f"the APIs differ: {codes}"] if len(set(codes)) > 1 else [])


async def send_http(apis: dict[str, Any], case: Http) -> list[str]:
    rest = apis["rest"].client
    headers = [(name.encode(), value.encode("utf-8")) for name, value in case.headers]
    target = case.path + (f"?{case.query}" if case.query else "")
    url = httpx.URL(rest.base_url, raw_path=quote(target, safe=string.printable).encode())  # as it is, if ASCII
    return problems_of(await rest.request(case.method, url, content=case.body, headers=headers))


def problems_of(response: httpx.Response) -> list[str]:
    """What is wrong with an answer."""
    if response.status_code < 400:
        return []
    if response.content == b"Invalid HTTP request received.":  # by the HTTP parser, before the service sees it
        return [] if response.status_code == 400 else [str(response.status_code)]
    try:
        body = orjson.loads(response.content)
        expected = STATUS[body["code"]]
    except (ValueError, KeyError, TypeError):
        return [f"an untyped failure {response.status_code}: {response.content[:80]!r}"]
    wrong = [] if body["code"] in CODES else [f"a fault of the service: {body['code']}"]
    wrong += [] if expected == response.status_code == body["status"] else [f"status {response.status_code} of {body}"]
    return wrong + ([] if response.headers.get("x-request-id") == body["request_id"] else ["ids differ"])


async def send_wire(apis: dict[str, Any], case: Wire) -> list[str]:
    """Reads to the end: every answer must be a 2xx or 4xx, and the connection must end."""
    url = httpx.URL(apis["rest"].url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(case.data)
        writer.write_eof()
        answer = await reader.read()
    except (ConnectionError, OSError):  # the server closed it, which is an answer
        answer = b""
    finally:
        writer.close()
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1")]
    return [f"answered {line!r}" for line in lines if line.split()[1][:1] not in (b"1", b"2", b"4")]


async def send_message(apis: dict[str, Any], case: Message) -> list[str]:
    call = apis["grpc"].channel.unary_unary(f"/landmarks.v1.Landmarks/{case.method}")(case.data, metadata=case.metadata)
    try:
        await call
        return []
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)
        if status is None:
            return [] if error.code() in GRPC_ALONE else [f"{error.code()} without a code: {error.details()}"]
        code = dict(error.trailing_metadata())["landmarks-error-code"]
        return [] if code in CODES else [f"a fault of the service: {code}"]


SEND: dict[type, Any] = {ImageCase: send_image, Http: send_http, Wire: send_wire, Message: send_message}
