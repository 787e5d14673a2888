"""A port between its binding and the first connection."""

import asyncio
from typing import Any

import pytest

from service.errors import StartError
from service.server import HttpServer, bound_socket, wait_until_listening


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that gets no requests."""


@pytest.mark.anyio
async def test_a_port_that_another_process_listens_on_meanwhile_is_reported() -> None:
    with bound_socket("127.0.0.1", 0) as mine:
        host, port = mine.getsockname()
        with bound_socket(host, port) as other:  # neither listens yet
            other.listen()
            server = HttpServer(nothing, grace=1, read_timeout=1)
            running = asyncio.create_task(server.serve(sockets=[mine]))
            with pytest.raises(StartError, match="in use"):
                await wait_until_listening(server, running, host, port)
