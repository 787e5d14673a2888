"""Several Tritons as one: who is asked, who is asked instead when that fails, and who is left out meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, Literal, TypeVar

from tritonclient.grpc import InferInput

from service.deadline import Deadline
from service.engines.port import EngineError, EngineOverloaded, EngineUnavailable
from service.engines.triton.endpoint import Endpoint
from service.engines.triton.resolver import Addresses

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""Endpoints that one request is sent to at most, each of them once."""
FOLLOW_SECONDS: Final = 0.5
"""How often the list of addresses is looked at."""

Reason = Literal["unavailable", "overloaded"]
T = TypeVar("T")
R = TypeVar("R")


class Fleet(Generic[T]):
    """The endpoints behind a list of addresses that may change. Inference can be repeated safely, so it is."""

    def __init__(
        self,
        addresses: Addresses,
        prove: Callable[[Endpoint[T]], Awaitable[T]],
        on_retry: Callable[[Reason], None] = lambda _: None,
    ) -> None:
        """`prove`: see Endpoint. `on_retry`: told why, whenever a request is sent to another endpoint."""
        self._addresses = addresses
        self._prove = prove
        self._on_retry = on_retry
        self._endpoints: dict[str, Endpoint[T]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._follower: asyncio.Task[None] | None = None
        self._identity: T | None = None
        self._turn = itertools.count()

    async def start(self) -> None:
        """Finds the endpoints and waits until each has been probed. Raises EngineError unless one of them is up.

        May be tried again after an error.
        """
        try:
            await self._update()
        except OSError as error:
            raise EngineUnavailable(str(error)) from error
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow())
        await asyncio.gather(*(endpoint.probed.wait() for endpoint in self._endpoints.values()))
        if not self.serving():
            raise next((each.failure for each in self._endpoints.values()), EngineUnavailable("there is no Triton"))

    @property
    def identity(self) -> T:
        """What is served; known after `start`."""
        self.serving()
        assert self._identity is not None, "known after start"
        return self._identity

    def serving(self) -> list[Endpoint[T]]:
        """The endpoints that are up and serve the same.

        While servers are replaced one after the other, that is what was served before, until none is left that does.
        """
        up = [endpoint for endpoint in self._endpoints.values() if endpoint.identity is not None]
        if up and all(endpoint.identity != self._identity for endpoint in up):
            self._identity = up[0].identity
        return [endpoint for endpoint in up if endpoint.identity == self._identity]

    async def infer(
        self,
        model: str,
        inputs: list[InferInput],
        parameters: dict[str, Any] | None = None,
        deadline: Deadline | None = None,
        identity: T | None = None,
    ) -> Any:
        """Triton's answer, by `deadline`. Raises EngineError; at once when no endpoint is up.

        A request whose endpoint is gone, or has a full queue, is sent to another one; where it was made for one
        `identity`, never to one that serves something else by now.
        """
        return await self._asked(lambda each: each.infer(model, inputs, parameters, deadline), identity)

    async def config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as Triton's JSON writes it. Raises EngineError."""
        return await self._asked(lambda endpoint: endpoint.config(model))

    async def _asked(self, ask: Callable[[Endpoint[T]], Awaitable[R]], identity: T | None = None) -> R:
        tried: list[Endpoint[T]] = []
        failure: EngineError = EngineUnavailable("no Triton can be asked now")
        while len(tried) < MAX_ATTEMPTS and (endpoint := self._least_busy(tried, identity)) is not None:
            if tried:
                self._on_retry("overloaded" if isinstance(failure, EngineOverloaded) else "unavailable")
            tried.append(endpoint)
            try:
                return await ask(endpoint)
            except (EngineUnavailable, EngineOverloaded) as error:
                failure = error
        raise failure

    async def close(self) -> None:
        """Lets go of everything; harmless when called twice."""
        follower, self._follower = self._follower, None
        if follower is not None:
            await _ended(follower)
        for address in list(self._endpoints):
            self._drop(address)
        await asyncio.gather(*self._leaving)

    def _least_busy(self, tried: list[Endpoint[T]], identity: T | None) -> Endpoint[T] | None:
        """The endpoint with the fewest calls in flight, of several such each in turn."""
        left = [each for each in self.serving() if each not in tried and identity in (None, each.identity)]
        first = next(self._turn) % max(1, len(left))
        return min(left[first:] + left[:first], key=lambda endpoint: endpoint.in_flight, default=None)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self._update()
            except OSError as error:  # those known so far are kept
                logger.debug("the addresses of Triton cannot be looked up: %s", error)

    async def _update(self) -> None:
        addresses = await self._addresses()
        for address in set(self._endpoints) - set(addresses):
            self._drop(address)
        for address in addresses:
            if address not in self._endpoints:
                endpoint = self._endpoints[address] = Endpoint(address, self._prove)
                self._watches[address] = asyncio.create_task(_watch(endpoint))

    def _drop(self, address: str) -> None:
        """Sends nothing to this endpoint any more. What it still works on is waited for."""
        leaving = asyncio.create_task(_leave(self._endpoints.pop(address), self._watches.pop(address)))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


async def _watch(endpoint: Endpoint[T]) -> None:
    while True:
        await endpoint.probe()
        await asyncio.sleep(endpoint.pause)


async def _leave(endpoint: Endpoint[T], watch: asyncio.Task[None]) -> None:
    await _ended(watch)
    await endpoint.close()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
