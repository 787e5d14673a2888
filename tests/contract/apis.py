"""Both APIs over real sockets, with one way to send a request to either."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import orjson
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from grpc_status import rpc_status

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.gateway import Gateway
from service.rest.schema import ProblemModel
from service.rpc.errors import CODE_KEY, PUSHBACK_KEY, REQUEST_ID_KEY
from service.rpc.server import build_server
from service.security.api_keys import Protection
from service.server import RestServer, stop_apis
from tests.fakes import make_gateway


@dataclass(frozen=True)
class Reply:
    """What a protocol said, in words that both share. `code` is "ok" or the error's."""

    code: str
    request_id: str
    retry_seconds: float | None = None
    body: Any = None
    message: str = ""
    status: Any = None


class Rest:
    name = "rest"

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(base_url=url, timeout=30)

    async def ask(self, image: bytes, request_id: str | None = None, timeout: float | None = None, **options) -> Reply:
        query: Any = [("box", ",".join(map(repr, map(float, box)))) for box in options.pop("boxes", ())]
        query += [(key, query_text(value)) for key, value in options.items()]
        headers = {"Content-Type": "application/octet-stream"}
        headers |= {"X-Request-ID": request_id} if request_id else {}
        headers |= {"X-Request-Timeout": str(timeout)} if timeout else {}
        return reply(await self.client.post("/v1/landmarks", content=image, params=query, headers=headers))

    async def ask_batch(self, images: list[bytes], options: list[dict], request_id: str) -> Reply:
        files: Any = [("image", (f"{i}.png", image)) for i, image in enumerate(images)]
        files.append(("options", (None, orjson.dumps(options))))
        return reply(await self.client.post("/v1/landmarks/batch", files=files, headers={"X-Request-ID": request_id}))

    async def close(self) -> None:
        await self.client.aclose()


def query_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def reply(response: httpx.Response) -> Reply:
    body = orjson.loads(response.content)
    retry = response.headers.get("retry-after")
    assert response.headers["x-request-id"] == body["request_id"]
    if response.status_code == 200:
        return Reply("ok", body["request_id"], body=body, status=200)
    assert response.headers["content-type"] == "application/problem+json"
    assert ProblemModel.model_validate(body, strict=True)
    assert body["status"] == response.status_code
    return Reply(
        body["code"],
        body["request_id"],
        float(retry) if retry else None,
        message=body["detail"],
        status=response.status_code,
    )


def message(image: bytes, options: dict[str, Any]) -> pb.DetectRequest:
    """A request of the options that the schema has; one that it has not becomes field 99 of a schema to come."""
    fields = {name: value for name, value in options.items() if name in pb.DetectRequest.DESCRIPTOR.fields_by_name}
    boxes = [pb.Box(x1=box[0], y1=box[1], x2=box[2], y2=box[3]) for box in fields.pop("boxes", ())]
    request = pb.DetectRequest(image=image, boxes=boxes, **fields)
    extra = b"\x98\x06\x01" if set(options) - set(fields) - {"boxes"} else b""
    return pb.DetectRequest.FromString(request.SerializeToString() + extra)


def as_dictionary(message: Any) -> Any:
    """The message by the names of the REST API, with lists that are empty."""
    body = MessageToDict(message, preserving_proto_field_name=True)
    for result in body.get("results", ()):
        if "answer" in result:
            result["answer"].setdefault("faces", [])
    return body


class Rpc:
    name = "grpc"

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.aio.insecure_channel(address, [("grpc.max_send_message_length", -1)])
        self.stub = landmarks_pb2_grpc.LandmarksStub(self.channel)

    async def ask(self, image: bytes, request_id: str | None = None, timeout: float | None = None, **options) -> Reply:
        request = message(image, options)
        metadata = ((REQUEST_ID_KEY, request_id),) if request_id else ()
        return await self._answered(self.stub.Detect(request, timeout=timeout, metadata=metadata), lambda body: body)

    async def ask_batch(self, images: list[bytes], options: list[dict], request_id: str) -> Reply:
        requests = [message(image, each) for image, each in zip(images, options, strict=True)]
        call = self.stub.DetectBatch(
            pb.DetectBatchRequest(requests=requests), metadata=((REQUEST_ID_KEY, request_id),), timeout=30
        )
        return await self._answered(call, as_dictionary)

    async def _answered(self, call: Any, form: Callable[[Any], Any]) -> Reply:
        try:
            answer = await call
            return Reply("ok", answer.request_id, body=form(answer), status=grpc.StatusCode.OK)
        except grpc.aio.AioRpcError as error:
            return rpc_failure(error, await rpc_status.aio.from_call(call))

    async def close(self) -> None:
        await self.channel.close()


def rpc_failure(error: grpc.aio.AioRpcError, status: Any) -> Reply:
    """Trailing metadata and google.rpc details must say the same. gRPC's own refusals have neither."""
    trailing = dict(error.trailing_metadata())
    pushback = int(trailing.get(PUSHBACK_KEY, -1))
    retry = pushback / 1000 if pushback >= 0 else None
    if status is not None:
        info, request, *rest = status.details
        reason, identity, delay = ErrorInfo(), RequestInfo(), RetryInfo()
        assert info.Unpack(reason)
        assert request.Unpack(identity)
        assert (reason.reason, reason.domain) == (trailing[CODE_KEY], "landmarks.v1")
        assert reason.metadata["action"]
        assert identity.request_id == trailing[REQUEST_ID_KEY]
        assert [detail.Unpack(delay) for detail in rest] == ([] if retry is None else [True])
        assert delay.retry_delay.seconds == (retry or 0)
    return Reply(
        trailing.get(CODE_KEY, ""), trailing.get(REQUEST_ID_KEY, ""), retry, None, error.details() or "", error.code()
    )


@asynccontextmanager
async def open_apis(gateway: Gateway, shield: Protection | None = None) -> AsyncIterator[dict[str, Any]]:
    """Both APIs of the gateway on free ports of 127.0.0.1."""
    rpc, port = build_server(gateway, "127.0.0.1:0", shield)
    await rpc.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = RestServer(gateway, grace=5, protection=shield)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        await server.listening.wait()
        apis: dict[str, Any] = {
            "rest": Rest(f"http://127.0.0.1:{listener.getsockname()[1]}"),
            "grpc": Rpc(f"127.0.0.1:{port}"),
        }
        try:
            yield apis
        finally:
            await stop_apis(gateway, server, running, rpc, grace=5)
            for api in apis.values():
                await api.close()


@contextmanager
def in_a_thread(engine: Any, detector: Any, **changes: Any) -> Iterator[tuple[str, str]]:
    """A gateway in a thread of its own, for clients that block; yields the addresses of REST and gRPC."""
    ready = threading.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with open_apis(make_gateway(engine, detector, **changes)) as apis:
            found.extend((apis["rest"].url, apis["grpc"].address, asyncio.get_running_loop(), stop := asyncio.Event()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(60)
    rest, rpc, loop, stop = found
    try:
        yield rest, rpc
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
