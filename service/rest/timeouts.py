"""How fast the body of a REST request must arrive, and the end of work whose client has disconnected."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorKind, ServiceError
from service.memory import BODY_COPIES, BodyHold, MemoryBudget
from service.rest.listener import peer_of
from service.rest.protocol import LINGER_BYTES, LINGER_SECONDS

MIN_RATE: Final = 1024
"""Bytes a second of a body, on average over each interval."""


class CancelOnDisconnect:
    """Cancels the work on a request when its client disconnects, and refuses a body that arrives too slowly.

    `seconds`: the intervals in which a body must arrive at MIN_RATE or end. `memory`: what holds the bytes of bodies
    from their arrival until the answer.
    """

    def __init__(self, app: ASGIApp, seconds: float, memory: MemoryBudget | None = None) -> None:
        self._app = app
        self._seconds = seconds
        self._memory = memory or MemoryBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        closes = scope["http_version"] == "1.0" or "close" in Headers(scope=scope).get("connection", "").lower()
        address = scope.get("client")
        body = self._memory.body(peer_of(address[0]) if address else "")
        client = _Client(receive, send, self._seconds, body, lingers=closes)
        try:
            await self._app(scope, client.receive, client.send)
        except asyncio.CancelledError:
            if not client.has_disconnected:
                raise
        finally:
            client.stop()


class _Client:
    """The client of the request that the current task works on."""

    def __init__(self, receive: Receive, send: Send, seconds: float, body: BodyHold, *, lingers: bool) -> None:
        self.has_disconnected = False
        self._receive, self._send = receive, send
        self._seconds = seconds
        self._body = body
        self._interval_end, self._interval_bytes = 0.0, 0
        self._lingers = lingers
        self._answered = False
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The next part of the body. Raises ServiceError of kind CLIENT_TOO_SLOW or OVERLOADED."""
        if self._watch is not None:
            return await self._receive()
        message = await self._receive_in_time()
        size = len(message.get("body", b""))
        self._interval_bytes += size
        self._body.add(size * BODY_COPIES)
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watch = asyncio.create_task(self._cancel_on_disconnect())
        return message

    async def _receive_in_time(self) -> Message:
        loop = asyncio.get_running_loop()
        if not self._interval_end:
            self._interval_end = loop.time() + self._seconds
        while True:
            try:
                return await asyncio.wait_for(self._receive(), max(self._interval_end - loop.time(), 0.001))
            except asyncio.TimeoutError:
                if self._interval_bytes < MIN_RATE * self._seconds:
                    raise ServiceError(
                        ErrorKind.CLIENT_TOO_SLOW,
                        f"the body must arrive at {MIN_RATE} bytes a second, a small one within {self._seconds:g} s",
                    ) from None
                self._interval_end, self._interval_bytes = loop.time() + self._seconds, 0

    async def send(self, message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        self._answered = self._answered or is_last
        if is_last and self._lingers and self._watch is None:
            # to close a connection whose client still sends would discard the answer that it has not read yet
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b"", "more_body": False}
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._discard_body(), LINGER_SECONDS)
        await self._send(message)

    async def _discard_body(self) -> None:
        left = LINGER_BYTES
        while left > 0:
            message = await self._receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))

    def stop(self) -> None:
        self._body.release()
        if self._watch is not None:
            self._watch.cancel()

    async def _cancel_on_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None and not self._answered:
            self.has_disconnected = True
            self._task.cancel()
