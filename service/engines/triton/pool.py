"""Several Tritons used as one: which of them gets a request, what is retried on another, and which are left out."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, Literal, TypeVar

from tritonclient.grpc import InferInput

from landmarks_client.retry import RetryBudget
from service.deadline import Deadline
from service.engines.port import EngineError, EngineOverloaded, EngineUnavailable
from service.engines.triton.endpoint import Endpoint
from service.engines.triton.resolver import Resolver, host_of
from service.engines.triton.tls import TritonTls

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""Endpoints that one request is sent to at most, each of them once."""
REFRESH_INTERVAL: Final = 0.5
"""Seconds between two updates of the endpoints from the list of addresses."""

Reason = Literal["unavailable", "overloaded"]
"""Why a call is retried, or would be."""
T = TypeVar("T")
R = TypeVar("R")


class EndpointPool(Generic[T]):
    """The endpoints behind a list of addresses that may change. Inference is idempotent, so it is retried."""

    def __init__(
        self,
        resolve: Resolver,
        verify: Callable[[Endpoint[T]], Awaitable[T]],
        on_retry: Callable[[Reason], None] = lambda _: None,
        on_budget_spent: Callable[[], None] = lambda: None,
        budget: RetryBudget | None = None,
        tls: TritonTls | None = None,
    ) -> None:
        """`verify`, `tls`: see Endpoint. `on_retry`: called with the reason whenever a request is sent to another
        endpoint.
        `on_budget_spent`: called whenever one is not, because `budget` is spent.

        Only retries of full queues have a budget. An endpoint that is unavailable is out of use after its first
        failure, so that retries of its calls cannot multiply.
        """
        self._resolve = resolve
        self._verify = verify
        self._on_retry = on_retry
        self._on_budget_spent = on_budget_spent
        self._budget = RetryBudget() if budget is None else budget
        self._tls = tls
        self._endpoints: dict[str, Endpoint[T]] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._refresher: asyncio.Task[None] | None = None
        self._identity: T | None = None
        self._round_robin = itertools.count()

    async def start(self) -> None:
        """Resolves the addresses and waits until each has been probed. Raises EngineError unless one of them is up.

        May be tried again after an error.
        """
        try:
            await self._refresh()
        except OSError as error:
            raise EngineUnavailable(str(error)) from error
        if self._refresher is None:
            self._refresher = asyncio.create_task(self._refresh_periodically())
        await asyncio.gather(*(endpoint.probed.wait() for endpoint in self._endpoints.values()))
        if not self.healthy():
            raise next((each.failure for each in self._endpoints.values()), EngineUnavailable("there is no Triton"))

    @property
    def identity(self) -> T:
        """What is served; known after `start`."""
        self.healthy()
        assert self._identity is not None, "known after start"
        return self._identity

    def healthy(self) -> list[Endpoint[T]]:
        """The endpoints that are up and serve the same.

        While servers are replaced one after the other, those are the ones that serve what was served before, until
        none of them is left.
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

        A request whose endpoint is down is sent to another one; so is one that finds a full queue, within the budget of
        retries. A request that was prepared for
        one `identity` is never sent to an endpoint that serves something else by now.
        """
        return await self._call(lambda each: each.infer(model, inputs, parameters, deadline), identity)

    async def config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as Triton's JSON writes it. Raises EngineError."""
        return await self._call(lambda endpoint: endpoint.config(model))

    async def _call(self, call: Callable[[Endpoint[T]], Awaitable[R]], identity: T | None = None) -> R:
        """The result of `call` with one endpoint; with another one, up to MAX_ATTEMPTS, where it may be retried."""
        self._budget.add_request()
        tried: list[Endpoint[T]] = []
        failure: EngineError = EngineUnavailable("no Triton is available now")
        while len(tried) < MAX_ATTEMPTS and (endpoint := self._least_busy(tried, identity)) is not None:
            if isinstance(failure, EngineOverloaded) and self._budget.take() is None:
                self._on_budget_spent()
                break
            if tried:
                self._on_retry("overloaded" if isinstance(failure, EngineOverloaded) else "unavailable")
            tried.append(endpoint)
            try:
                return await call(endpoint)
            except (EngineUnavailable, EngineOverloaded) as error:
                failure = error
        raise failure

    async def close(self) -> None:
        """Closes every connection, after the calls in flight. Harmless when called twice."""
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            await _cancel(refresher)
        for address in list(self._endpoints):
            self._remove(address)
        await asyncio.gather(*self._draining)

    def _least_busy(self, tried: list[Endpoint[T]], identity: T | None) -> Endpoint[T] | None:
        """The endpoint with the fewest calls in flight; among equals, round robin."""
        left = [each for each in self.healthy() if each not in tried and identity in (None, each.identity)]
        first = next(self._round_robin) % max(1, len(left))
        return min(left[first:] + left[:first], key=lambda endpoint: endpoint.in_flight, default=None)

    async def _refresh_periodically(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_INTERVAL)
            try:
                await self._refresh()
            except OSError as error:  # the known endpoints are kept
                logger.debug("the addresses of Triton cannot be resolved: %s", error)

    async def _refresh(self) -> None:
        addresses = await self._resolve()
        for address in set(self._endpoints) - set(addresses):
            self._remove(address)
        for address in addresses:
            if address not in self._endpoints:
                endpoint = Endpoint(address, self._verify, self._tls, host_of(self._resolve, address))
                self._endpoints[address] = endpoint
                self._probes[address] = asyncio.create_task(_probe_periodically(endpoint))

    def _remove(self, address: str) -> None:
        """Sends nothing more to this endpoint. It is closed in the background, after its calls in flight."""
        draining = asyncio.create_task(_drain(self._endpoints.pop(address), self._probes.pop(address)))
        self._draining.add(draining)
        draining.add_done_callback(self._draining.discard)


async def _probe_periodically(endpoint: Endpoint[T]) -> None:
    while True:
        await endpoint.probe()
        await asyncio.sleep(endpoint.probe_delay)


async def _drain(endpoint: Endpoint[T], probes: asyncio.Task[None]) -> None:
    await _cancel(probes)
    await endpoint.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
