"""How long the REST door waits for a client: for its headers, for its body, and while it is still there."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def protocol(seconds: float) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP protocol with a limit that it lacks: a connection has `seconds` for the headers of a request."""

    class HeadersInTime(HttpToolsProtocol):
        _overdue: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_headers()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect_headers()

        def on_headers_complete(self) -> None:
            self._expect_nothing()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_nothing()
            super().connection_lost(exc)

        def _expect_headers(self) -> None:
            self._expect_nothing()
            self._overdue = self.loop.call_later(seconds, self.transport.close)

        def _expect_nothing(self) -> None:
            if self._overdue is not None:
                self._overdue.cancel()
                self._overdue = None

    return HeadersInTime


class WhileConnected:
    """Ends the work on a request when its client leaves, or sends nothing of its body for `seconds`."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        client = _Client(receive, send, self._seconds)
        try:
            await self._app(scope, client.receive, client.send)
        except asyncio.CancelledError:
            if not client.has_left:
                raise
        finally:
            client.forget()


class _Client:
    """The client of one request, which the current task works on."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self.has_left = False
        self._receive, self._send = receive, send
        self._seconds = seconds
        self._answered = False
        self._work = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The next piece of the body. Raises asyncio.TimeoutError, of which a client is told as of any deadline."""
        if self._watch is not None:
            return await self._receive()
        message = await asyncio.wait_for(self._receive(), self._seconds)
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watch = asyncio.create_task(self._until_it_leaves())
        return message

    async def send(self, message: Message) -> None:
        self._answered = self._answered or (message["type"] == "http.response.body" and not message.get("more_body"))
        await self._send(message)

    def forget(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._work is not None and not self._answered:
            self.has_left = True
            self._work.cancel()
