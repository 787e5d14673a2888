"""How much memory requests may hold: bodies as they arrive, and images before they are decoded.

One budget of bytes for both, and for all clients. A third of it is for bodies, so that images which have arrived can
always be decoded: they wait for other images alone, and those end.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, Protocol

from service.errors import ErrorKind, ServiceError

BODY_COPIES: Final = 3
"""A body is in memory as the pieces that arrived and as a whole, and JSON also with its image decoded. Measured:
docs/decisions/0041."""
_UNLIMITED: Final = sys.maxsize


class Ending(Protocol):
    """A future, of asyncio or of threads."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object: ...


class MemoryBudget:
    """Counts the bytes that requests hold. All methods belong to the thread of the event loop."""

    def __init__(self, total: int = _UNLIMITED, peer_share: float = 1.0) -> None:
        """`peer_share`: of the bodies' part, for the bodies of one peer."""
        self.total = total
        self.bodies = total // 3
        """Bytes for the bodies of all requests."""
        self.images = total - self.bodies
        """Bytes for the images of all requests."""
        self.peer_share = peer_share
        self._bodies_of_peer = int(self.bodies * peer_share)
        self.body_bytes = 0
        self._by_peer: Counter[str] = Counter()
        self.image_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    # ------------------------------------------------------------ bodies

    @property
    def largest_body(self) -> int:
        """Bytes of the largest body that one peer's part holds, with its copies."""
        return self._bodies_of_peer // BODY_COPIES

    def has_room(self, peer: str, size: int) -> bool:
        """Whether a body of this peer may have so many bytes more."""
        return self.body_bytes + size <= self.bodies and self._by_peer.get(peer, 0) + size <= self._bodies_of_peer

    def body(self, peer: str) -> BodyHold:
        """For the body of a request of this peer. Nothing is held yet."""
        return BodyHold(self, peer)

    def change_body(self, peer: str, size: int) -> None:
        """Counts bytes of a body of this peer; negative ones when it has them no more."""
        self.body_bytes += size
        self._by_peer[peer] += size
        if not self._by_peer[peer]:
            del self._by_peer[peer]

    # ------------------------------------------------------------ images

    async def take_image(self, size: int, seconds: float) -> ImageHold:
        """Holds bytes for an image until the hold is released. Waits for its turn, for at most so many seconds.

        Raises ServiceError of kind OVERLOADED after that, and at once, of kind TOO_MANY_PIXELS, for more bytes than
        there are for all images.
        """
        if size > self.images:
            raise ServiceError(
                ErrorKind.TOO_MANY_PIXELS,
                f"the image needs {size >> 20} MiB of memory, and this service has {self.images >> 20} MiB for images: "
                "shrink it",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._admit()
        try:
            if not turn.done():
                await asyncio.wait([turn], timeout=seconds)
        except asyncio.CancelledError:
            if turn.done():  # its turn came at the same moment
                self._release_image(size)
            self._give_up(turn)
            raise
        if not turn.done():
            self._give_up(turn)
            raise ServiceError(
                ErrorKind.OVERLOADED, "the memory for images is taken by others; try again after a moment"
            )
        return ImageHold(lambda: self._release_image(size))

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        turn.cancel()
        self._admit()  # those behind it

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if self.image_bytes + size > self.images:
                    return
                self.image_bytes += size
                turn.set_result(None)
            self._waiting.popleft()

    def _release_image(self, size: int) -> None:
        self.image_bytes -= size
        self._admit()


class BodyHold:
    """The bytes that one body takes, with its copies."""

    def __init__(self, budget: MemoryBudget, peer: str) -> None:
        self.peer = peer
        self.size = 0
        self._budget = budget

    def add(self, size: int) -> None:
        """Holds so many bytes more. Raises ServiceError of kind OVERLOADED where there is no room for them."""
        if size > 0 and not self._budget.has_room(self.peer, size):
            raise ServiceError(
                ErrorKind.OVERLOADED, "the memory for bodies is taken by other requests; try again after a moment"
            )
        self._set(self.size + size)

    def change_to(self, size: int) -> None:
        """Holds so many bytes instead. Raises as `add` does."""
        self.add(size - self.size)

    def release(self) -> None:
        self._set(0)

    def _set(self, size: int) -> None:
        self._budget.change_body(self.peer, size - self.size)
        self.size = size


class ImageHold:
    """Bytes that are held for an image while its request lasts, and any work that outlives it."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._holders = 1

    @contextmanager
    def during_request(self) -> Iterator[None]:
        """Holds the bytes while the block lasts; `hold_during` finds this hold within it."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self._leave()

    def hold_during(self, work: Ending) -> None:
        """Holds the bytes until `work` has ended as well."""
        self._holders += 1
        work.add_done_callback(self._has_ended)

    def _has_ended(self, _: object) -> None:
        with suppress(RuntimeError):  # the loop has ended before
            self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._release()


_current: ContextVar[ImageHold | None] = ContextVar("image_hold", default=None)


def hold_during(work: Ending) -> None:
    """Holds what the current request holds for its image until `work` has ended, even if the request ends before.

    A thread, or a call to Triton, cannot be cancelled, and has the image.
    """
    hold = _current.get()
    if hold is not None:
        hold.hold_during(work)
