"""Both doors over real sockets, with one way to ask either."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import orjson

from service.gateway import Gateway
from service.rpc.errors import CODE_KEY, PUSHBACK_KEY, REQUEST_ID_KEY
from service.rpc.pb import landmarks_pb2 as pb
from service.rpc.pb import landmarks_pb2_grpc
from service.rpc.server import build_server
from service.server import RestServer, close_doors


@dataclass(frozen=True)
class Reply:
    """What a door said, in words that both share. `code` is "ok" or the error's."""

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
        query += [(key, str(value)) for key, value in options.items()]
        headers = {"Content-Type": "application/octet-stream"}
        headers |= {"X-Request-ID": request_id} if request_id else {}
        headers |= {"X-Request-Timeout": str(timeout)} if timeout else {}
        return reply(await self.client.post("/v1/landmarks", content=image, params=query, headers=headers))

    async def close(self) -> None:
        await self.client.aclose()


def reply(response: httpx.Response) -> Reply:
    body = orjson.loads(response.content)
    retry = response.headers.get("retry-after")
    assert response.headers["x-request-id"] == body["request_id"]
    if response.status_code == 200:
        return Reply("ok", body["request_id"], body=body, status=200)
    assert set(body) == {"error", "request_id"}
    return Reply(
        body["error"]["code"],
        body["request_id"],
        float(retry) if retry else None,
        message=body["error"]["message"],
        status=response.status_code,
    )


class Rpc:
    name = "grpc"

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, [("grpc.max_send_message_length", -1)])
        self.stub = landmarks_pb2_grpc.LandmarksStub(self.channel)

    async def ask(self, image: bytes, request_id: str | None = None, timeout: float | None = None, **options) -> Reply:
        boxes = [pb.Box(x1=box[0], y1=box[1], x2=box[2], y2=box[3]) for box in options.pop("boxes", ())]
        known = {key: options.pop(key) for key in ("topk", "max_faces") if key in options}
        request = pb.DetectRequest(image=image, boxes=boxes, **known)
        if options:  # field 99 of a schema to come
            request = pb.DetectRequest.FromString(request.SerializeToString() + b"\x98\x06\x01")
        metadata = ((REQUEST_ID_KEY, request_id),) if request_id else ()
        try:
            answer = await self.stub.Detect(request, timeout=timeout, metadata=metadata)
            return Reply("ok", answer.request_id, body=answer, status=grpc.StatusCode.OK)
        except grpc.aio.AioRpcError as error:
            trailing = dict(error.trailing_metadata())
            pushback = int(trailing.get(PUSHBACK_KEY, -1))
            return Reply(
                trailing.get(CODE_KEY, ""),
                trailing.get(REQUEST_ID_KEY, ""),
                pushback / 1000 if pushback >= 0 else None,
                message=error.details() or "",
                status=error.code(),
            )

    async def close(self) -> None:
        await self.channel.close()


@asynccontextmanager
async def open_doors(gateway: Gateway) -> AsyncIterator[dict[str, Any]]:
    """Both doors of the gateway on free ports of 127.0.0.1."""
    rpc, port = build_server(gateway, "127.0.0.1:0")
    await rpc.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = RestServer(gateway, grace=5)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        await server.listening.wait()
        doors: dict[str, Any] = {
            "rest": Rest(f"http://127.0.0.1:{listener.getsockname()[1]}"),
            "grpc": Rpc(f"127.0.0.1:{port}"),
        }
        try:
            yield doors
        finally:
            await close_doors(gateway, server, running, rpc, grace=5)
            for door in doors.values():
                await door.close()
