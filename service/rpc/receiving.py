"""How the messages of gRPC are received: when there is memory, in time, and from nobody more than its share.

gRPC keeps 64 KiB of a message until it is asked for it, and then as much as arrives. Only its end tells how long a
message is. So the largest one is held for each that begins to be received, and when it has not arrived at once, what
the kernel says has arrived on its connection (decision 0042).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import grpc

from service.deadline import Deadline, DeadlineExceeded
from service.errors import ErrorKind, ServiceError
from service.memory import BODY_COPIES, BodyHold, MemoryBudget
from service.rest.listener import peer_of
from service.rest.timeouts import MIN_RATE
from service.rpc.connections import bytes_received, peer_of_call
from service.rpc.errors import Context

T = TypeVar("T")

LOOKAHEAD_BYTES: Final = 2**16
"""Of a message, which gRPC keeps before it is asked for it."""
INLINE_BYTES: Final = 2**18
"""Larger messages are parsed in a thread, so that the event loop goes on."""
RATE_WINDOW: Final = 2.0
"""Seconds after which a slow message gives way to one that waits."""
SLOW_RATE: Final = 64 * 1024
"""Bytes a second of its connection, below which a message is slow."""
_LOOK_SECONDS: Final = 0.05
"""Between two looks at what has arrived. More than is held for it can arrive meanwhile, at most what the network
brings."""


class _Receiving:
    """A message that is being received."""

    def __init__(self, context: Context, memory: MemoryBudget) -> None:
        self.connection = peer_of_call(context.peer())
        self.hold: BodyHold = memory.body(peer_of(self.connection.address) if self.connection else "")
        self.refusal: asyncio.Future[ServiceError] = asyncio.get_running_loop().create_future()
        """Set where the message is received no further."""
        self.since = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._interval: tuple[float, int] = (0.0, 0)

    def refuse(self, kind: ErrorKind, message: str) -> None:
        if not self.refusal.done():
            self.refusal.set_result(ServiceError(kind, message))

    def check_rate(self, arrived: int, interval: float, *, others_wait: bool) -> None:
        """Refuses a message that is too slow. `arrived`: bytes on its connection so far."""
        now = time.monotonic()
        if self._first is None:
            self._first = self._interval = now, arrived
        since, before = self._first
        if others_wait and now - since >= RATE_WINDOW and arrived - before < SLOW_RATE * (now - since):
            self.refuse(ErrorKind.CLIENT_TOO_SLOW, "the message arrives too slowly while others wait")
        since, before = self._interval
        if now - since >= interval:
            self._interval = now, arrived
            if arrived - before < MIN_RATE * (now - since):
                self.refuse(ErrorKind.CLIENT_TOO_SLOW, f"the message must arrive at {MIN_RATE} bytes a second")


class Receiver:
    """Receives messages, and holds the memory that they take."""

    def __init__(self, memory: MemoryBudget, largest: int, interval: float) -> None:
        """`largest`: bytes of the largest message. `interval`: seconds in which a message must keep MIN_RATE."""
        self._memory, self._largest, self._interval = memory, largest, interval
        self._receiving: dict[_Receiving, None] = {}
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def message(
        self, context: Context, deadline: Deadline, parse: Callable[[bytes], T]
    ) -> AsyncIterator[T | None]:
        """The next message of a call, None after the last. Its memory is held until the block ends.

        Raises ServiceError of kind OVERLOADED or CLIENT_TOO_SLOW, and what `parse` raises.
        """
        receiving = _Receiving(context, self._memory)
        try:
            yield await self._receive(context, receiving, deadline, parse)
        finally:
            receiving.hold.release()
            self._wake()

    async def _receive(
        self, context: Context, receiving: _Receiving, deadline: Deadline, parse: Callable[[bytes], T]
    ) -> T | None:
        try:
            await self._wait_for_room(receiving.hold, deadline)
            data = await self._read(context, receiving, deadline)
        except DeadlineExceeded as error:
            raise ServiceError(ErrorKind.CLIENT_TOO_SLOW, "the message did not arrive before the deadline") from error
        if data is None:
            return None
        receiving.hold.change_to(len(data) * BODY_COPIES)
        self._wake()
        return await asyncio.to_thread(parse, data) if len(data) > INLINE_BYTES else parse(data)

    async def _wait_for_room(self, hold: BodyHold, deadline: Deadline) -> None:
        """Returns once the largest message is held."""
        end = time.monotonic() + deadline.remaining() / 2
        while not self._memory.has_room(hold.peer, self._largest) and time.monotonic() < end:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[turn] = None
            try:
                await asyncio.wait([turn], timeout=_LOOK_SECONDS)
            finally:
                self._waiting.pop(turn, None)
        hold.add(self._largest)
        self._wake()

    def _wake(self) -> None:
        """Lets the call that waits longest see whether there is room."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
                return

    async def _read(self, context: Context, receiving: _Receiving, deadline: Deadline) -> bytes | None:
        reading = asyncio.ensure_future(context.read())
        self._receiving[receiving] = None
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_looking())
        try:
            await asyncio.wait(
                (reading, receiving.refusal), timeout=deadline.remaining(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            del self._receiving[receiving]
            # it ends with the call: gRPC would keep what arrives for a read that is cancelled
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        if reading.done():
            data = reading.result()
            return None if data is grpc.aio.EOF else data
        if receiving.refusal.done():
            raise receiving.refusal.result()
        raise DeadlineExceeded("the deadline has passed")

    async def _keep_looking(self) -> None:
        try:
            while self._receiving:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._look()
        finally:
            self._watch = None

    async def _look(self) -> None:
        """Holds what has arrived of the messages that did not arrive at once, and refuses those that are too slow."""
        now = time.monotonic()
        if all(now - each.since < _LOOK_SECONDS for each in self._receiving):
            return
        arrived = await asyncio.to_thread(bytes_received)
        messages = Counter(each.connection for each in self._receiving)
        for each in list(self._receiving):
            if each.connection not in arrived or now - each.since < _LOOK_SECONDS:
                continue
            size = arrived[each.connection]
            try:
                each.hold.change_to(min(self._largest, size // messages[each.connection] + LOOKAHEAD_BYTES))
            except ServiceError as error:
                each.refuse(error.kind, error.message)
            each.check_rate(size, self._interval, others_wait=bool(self._waiting))
        self._wake()
