import asyncio
import inspect
import socket
from collections.abc import Iterator
from typing import Any

import pytest


async def ask(client: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    """Calls a method of a client of either kind."""
    function = getattr(client, method)
    if inspect.iscoroutinefunction(function):
        return await function(*arguments, **keywords)
    return await asyncio.to_thread(function, *arguments, **keywords)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound, so that nobody else gets it, and that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
