"""The timeout of the REST API for a request's body, and the end of work whose client has disconnected."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.rest.protocol import LINGER_BYTES, LINGER_SECONDS


class CancelOnDisconnect:
    """Cancels the work on a request when its client disconnects, or sends nothing of the body for `seconds`."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        closes = scope["http_version"] == "1.0" or "close" in Headers(scope=scope).get("connection", "").lower()
        client = _Client(receive, send, self._seconds, lingers=closes)
        try:
            await self._app(scope, client.receive, client.send)
        except asyncio.CancelledError:
            if not client.has_disconnected:
                raise
        finally:
            client.stop_watching()


class _Client:
    """The client of the request that the current task works on."""

    def __init__(self, receive: Receive, send: Send, seconds: float, *, lingers: bool) -> None:
        self.has_disconnected = False
        self._receive, self._send = receive, send
        self._seconds = seconds
        self._lingers = lingers
        self._answered = False
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The next part of the body. Raises asyncio.TimeoutError, which is answered like any deadline that passed."""
        if self._watch is not None:
            return await self._receive()
        message = await asyncio.wait_for(self._receive(), self._seconds)
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watch = asyncio.create_task(self._cancel_on_disconnect())
        return message

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

    def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _cancel_on_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None and not self._answered:
            self.has_disconnected = True
            self._task.cancel()
