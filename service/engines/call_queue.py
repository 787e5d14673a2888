"""A bounded queue before the calls to an engine's server.

What waits is gathered into calls, the earliest deadline first, so that requests that came early are done early instead
of all at the same time. No request has more than half of a call while others wait, so that one of hundreds of crops
does not delay one of a single crop. At most a few calls are in flight: while they run, what arrives meanwhile makes the
next ones, fuller the busier the service is. A request is refused at once when the queue is full, and leaves it when its
deadline passes.

Triton's own dynamic batcher would do the first of these as well, but it stands still for half a second at a time (see
docs/decisions/0005).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from service.deadline import Deadline
from service.engines.port import EngineOverloaded, EngineTimeout
from service.observability.request_scope import waited

MAX_WAITING: Final = 64
"""Requests that may wait before the calls to each server."""

Key = TypeVar("Key")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Request(Generic[Key, Item, Result]):
    key: Key
    items: Sequence[Item]
    deadline: Deadline | None
    done: asyncio.Future[None]
    context: Context = field(default_factory=copy_context)
    """The context of the caller: what measures and traces a call finds the request by it."""
    submitted_at: float = field(default_factory=time.monotonic)
    taken_at: float | None = None
    """When the first call was made."""
    taken: int = 0
    """How many of the items, the first ones, calls were made for."""
    results: dict[int, Result] = field(default_factory=dict)
    """By the item's index."""

    @property
    def ends_at(self) -> float:
        return math.inf if self.deadline is None else self.deadline.ends_at

    @property
    def left(self) -> int:
        """Items that no call was made for."""
        return len(self.items) - self.taken


class CallQueue(Generic[Key, Item, Result]):
    """Gathers the items of requests with the same key into calls. All methods run in one event loop."""

    def __init__(
        self,
        name: str,
        call: Callable[[Key, list[Item], Deadline | None], Awaitable[Sequence[Result]]],
        *,
        max_batch: Callable[[Key], int],
        max_calls: Callable[[], int],
        max_waiting: Callable[[], int],
    ) -> None:
        """`name`: of the metrics. `call`: a key, items, and the latest deadline of their requests -> a result for each
        item.

        `max_batch`: items of a call. `max_calls`: calls in flight. `max_waiting`: requests of which items wait.
        """
        self._name = name
        self._call = call
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._max_waiting = max_waiting
        self._waiting: deque[_Request[Key, Item, Result]] = deque()
        self._calls: set[asyncio.Future[None]] = set()

    async def submit(self, key: Key, items: Sequence[Item], deadline: Deadline | None) -> list[Result]:
        """The results of the items, in their order.

        Raises EngineOverloaded when the queue is full, EngineTimeout once the deadline has passed, and what the call
        raises. A request that leaves early, for its deadline or because it is cancelled, takes no further part in
        calls; the one in flight goes on for the others.
        """
        if len(self._waiting) >= self._max_waiting():
            raise EngineOverloaded(f"{len(self._waiting)} requests are waiting for the engine")
        request = _Request[Key, Item, Result](key, items, deadline, asyncio.get_running_loop().create_future())
        try:
            timeout = None if deadline is None else deadline.remaining()
            if items:
                self._enqueue(request)
                self._dispatch()
            else:
                request.done.set_result(None)
            await asyncio.wait_for(request.done, timeout)
        except asyncio.TimeoutError as error:
            raise EngineTimeout("the engine did not answer in time") from error
        finally:
            if request in self._waiting:
                self._waiting.remove(request)
            if not request.done.cancel() and not request.done.cancelled():
                request.done.exception()  # has been seen, even where the caller was cancelled meanwhile
            waited(self._name, (request.taken_at or time.monotonic()) - request.submitted_at)
        return [request.results[index] for index in range(len(items))]

    def _enqueue(self, request: _Request[Key, Item, Result]) -> None:
        """Before the first of those with a later deadline. So the second call of a request, such as that of a second
        pass, is made before the first calls of those that came later.
        """
        later = (i for i, other in enumerate(self._waiting) if other.ends_at > request.ends_at)
        self._waiting.insert(next(later, len(self._waiting)), request)

    def _dispatch(self) -> None:
        while self._waiting and len(self._calls) < self._max_calls():
            batch = self._next_batch()
            first, _ = batch[0]
            task = first.context.run(asyncio.ensure_future, self._run(batch))
            self._calls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._calls.discard(task)
        self._dispatch()

    def _next_batch(self) -> list[tuple[_Request[Key, Item, Result], int]]:
        """Requests with the index of an item of theirs, all with the first one's key.

        Each takes up to half of the call in its turn, and goes to the end of the queue if it has items left then.
        """
        key, now = self._waiting[0].key, time.monotonic()
        limit = max(1, self._max_batch(key))
        turn = max(1, limit // 2)
        batch: list[tuple[_Request[Key, Item, Result], int]] = []
        while len(batch) < limit and (request := self._first(key)) is not None:
            count = min(turn, request.left, limit - len(batch))
            batch.extend((request, request.taken + i) for i in range(count))
            request.taken += count
            request.taken_at = request.taken_at or now
            if request.left and count < turn:
                break  # the call is full, and the rest of its turn is first in the next one
            self._waiting.remove(request)
            if request.left:
                self._waiting.append(request)
        return batch

    def _first(self, key: Key) -> _Request[Key, Item, Result] | None:
        return next((request for request in self._waiting if request.key == key), None)

    async def _run(self, batch: list[tuple[_Request[Key, Item, Result], int]]) -> None:
        requests = {id(request): request for request, _ in batch}.values()
        try:
            items = [request.items[index] for request, index in batch]
            results = await self._call(batch[0][0].key, items, _latest([request.deadline for request in requests]))
        except Exception as error:
            for request in requests:
                if not request.done.done():
                    request.done.set_exception(error)
            return
        for (request, index), result in zip(batch, results, strict=True):
            request.results[index] = result
        for request in requests:
            if len(request.results) == len(request.items) and not request.done.done():
                request.done.set_result(None)


def _latest(deadlines: Sequence[Deadline | None]) -> Deadline | None:
    """None, which sets no limit, where one of them is None."""
    known = [deadline for deadline in deadlines if deadline is not None]
    return max(known, key=lambda deadline: deadline.ends_at) if len(known) == len(deadlines) else None
