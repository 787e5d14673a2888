"""What becomes of a port between its binding and the first connection."""

import asyncio
from typing import Any

import pytest

from service.bootstrap import StartError
from service.server import HttpServer, bound_socket, wait_until_listening


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application that nobody asks."""


def test_a_port_that_another_listens_on_meanwhile_is_told() -> None:
    async def run() -> None:
        with bound_socket("127.0.0.1", 0) as mine:
            host, port = mine.getsockname()
            with bound_socket(host, port) as other:  # nobody listens yet
                other.listen()
                server = HttpServer(nothing, grace=1, read_timeout=1)
                await wait_until_listening(server, asyncio.create_task(server.serve(sockets=[mine])), host, port)

    with pytest.raises(StartError, match="in use"):
        asyncio.run(run())
