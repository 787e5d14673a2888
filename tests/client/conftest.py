from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from landmarks_client import AsyncClient, Client

Ask = Callable[..., Awaitable[Any]]
"""Calls a method of a client: its name, then its arguments."""

every_client = pytest.mark.parametrize("kind", [Client, AsyncClient])
every_api = pytest.mark.parametrize("scheme", ["http", "grpc"])


async def ask(client: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    """Calls a method of a client of either kind."""
    function = getattr(client, method)
    if inspect.iscoroutinefunction(function):
        return await function(*arguments, **keywords)
    return await asyncio.to_thread(function, *arguments, **keywords)


@asynccontextmanager
async def asking(kind: Any, url: str, **settings: Any) -> AsyncIterator[Ask]:
    """A client of this kind."""
    client = kind(url, **settings)
    try:
        yield partial(ask, client)
    finally:
        await ask(client, "close")


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound, so that nobody else gets it, and that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
