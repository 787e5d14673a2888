"""The synchronous and the asynchronous client. `rest` and `rpc` implement their transports."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from landmarks_client.errors import NO_ANSWER, ClientUsageError, LandmarksError
from landmarks_client.options import Options
from landmarks_client.rest import AsyncRestTransport, RestTransport
from landmarks_client.results import Answer, ModelDescription
from landmarks_client.retry import Attempts, RetryBudget
from landmarks_client.rpc import AsyncRpcTransport, RpcTransport
from landmarks_client.tracking import AnyFrame, AsyncProgress, Progress, TrackedFrame, TrackOptions, track_options
from landmarks_client.wire import (
    AsyncTransport,
    Attempt,
    Image,
    ImagePart,
    Outcome,
    Tls,
    Transport,
    image_bytes,
    normalized_options,
    parse_target,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

_CLOSED: Final = "the client is closed: create another one, and send every request before it is closed"
_NO_STREAMS: Final = "REST has no streams, which track needs: give the address of gRPC, grpc://host:port"
_BROKEN: Final = (NO_ANSWER, "client_too_slow", "cancelled")
"""Codes of streams that may go on as another one: the connection was lost, frames were late, the service stopped."""
_LOOP: Final = "an AsyncClient is for the event loop in which it is created: create one inside each asyncio.run(...)"


class Client:
    """The synchronous client of one service. It keeps connections open, and several threads may use it at once.

    When the service is unavailable or overloaded, or a connection is lost, the request is sent again after the delay
    that the service asks for, as long as its timeout allows. Retries after `overloaded` have a budget that all requests
    of a client share (`landmarks_client.retry`). Create a new client in a forked child process: an older one shares its
    connections with the parent.
    """

    def __init__(self, url: str, *, api_key: str | None = None, tls: Tls | None = None, timeout: float = 30.0) -> None:
        """`url`: http://host:port, https://, grpc:// or grpcs://. `timeout`: seconds for a request with its retries.

        Raises ClientUsageError for an invalid address, API key, or set of TLS files.
        """
        self._timeout = timeout
        self._budget = RetryBudget()
        self._is_closed = False
        target = parse_target(url, api_key, tls)
        self._rpc = RpcTransport(target) if target.is_grpc else None
        self._transport: Transport = self._rpc or RestTransport(target)

    def landmarks(
        self, image: Image, *, timeout: float | None = None, request_id: str | None = None, **options: Unpack[Options]
    ) -> Answer:
        """Finds the landmarks of every face in one image.

        `timeout`: seconds for this request, instead of the client's. `request_id`: an id of your own, at most 128
        printable ASCII characters. Raises ServiceProblem, NoAnswer, OSError when a file cannot be read, and
        ClientUsageError when an argument cannot be sent.
        """
        part = _read_part(image, options)
        return self._send(timeout, request_id, lambda attempt: self._transport.detect(part, attempt))

    def landmarks_batch(
        self,
        images: Sequence[Image],
        *,
        each: Sequence[Options] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> list[Outcome]:
        """Sends several images in one request. Returns the answer or the problem of each, in the order of the images.

        `options` apply to all images; `each` holds further options of every image. Raises as `landmarks` does when the
        whole request fails, and ClientUsageError when `each` is not as long as `images`.
        """
        parts = _read_parts(images, options, each)
        return self._send(timeout, request_id, lambda attempt: self._transport.detect_batch(parts, attempt))

    def track(
        self,
        frames: Iterable[AnyFrame],
        *,
        rate: float | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[TrackedFrame]:
        """Follows the faces of a shot: yields the answer to each frame as soon as it is known. Over gRPC alone.

        `frames`: image files, arrays of pixels or `Frame`s, taken in a thread as they are needed. `rate`: frames per
        second, 24 if unset. A stream that breaks is continued after the last answer; `timeout`: seconds in which that
        must succeed. Raises as `landmarks` does, and what `frames` raises. A frame that cannot be answered has a
        problem instead, and the others are answered.
        """
        self._check_open()
        if self._rpc is None:
            raise ClientUsageError(_NO_STREAMS)
        message = track_options(normalized_options(options), rate)
        shot = _Shot(request_id, self._timeout if timeout is None else timeout, self._budget)
        return _answers(self._rpc, frames, message, shot)

    def models(self, *, timeout: float | None = None) -> list[ModelDescription]:
        """Describes the served models. Raises ServiceProblem or NoAnswer."""
        return self._send(timeout, None, self._transport.models)

    def close(self) -> None:
        """Closes the connections."""
        self._is_closed = True
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientUsageError(_CLOSED)

    def _send(self, timeout: float | None, request_id: str | None, send: Callable[[Attempt], T]) -> T:
        self._check_open()
        limit = self._timeout if timeout is None else timeout
        attempts = Attempts(request_id or uuid.uuid4().hex, limit, self._budget)
        while True:
            try:
                return send(attempts.next())
            except LandmarksError as error:
                time.sleep(attempts.delay_after(error))


class AsyncClient:
    """The asynchronous client, for one event loop. Cancelling a call cancels the request at the service, too."""

    def __init__(self, url: str, *, api_key: str | None = None, tls: Tls | None = None, timeout: float = 30.0) -> None:
        """As `Client`. Raises ClientUsageError where no event loop is running, too."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise ClientUsageError(_LOOP) from error
        self._timeout = timeout
        self._budget = RetryBudget()
        self._is_closed = False
        target = parse_target(url, api_key, tls)
        self._rpc = AsyncRpcTransport(target) if target.is_grpc else None
        self._transport: AsyncTransport = self._rpc or AsyncRestTransport(target)

    async def landmarks(
        self, image: Image, *, timeout: float | None = None, request_id: str | None = None, **options: Unpack[Options]
    ) -> Answer:
        """As `Client.landmarks`."""
        part = await asyncio.to_thread(_read_part, image, options)
        return await self._send(timeout, request_id, lambda attempt: self._transport.detect(part, attempt))

    async def landmarks_batch(
        self,
        images: Sequence[Image],
        *,
        each: Sequence[Options] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> list[Outcome]:
        """As `Client.landmarks_batch`."""
        parts = await asyncio.to_thread(_read_parts, images, options, each)
        return await self._send(timeout, request_id, lambda attempt: self._transport.detect_batch(parts, attempt))

    def track(
        self,
        frames: Iterable[AnyFrame] | AsyncIterable[AnyFrame],
        *,
        rate: float | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[TrackedFrame]:
        """As `Client.track`; `async for` takes the answers."""
        self._check_open()
        if self._rpc is None:
            raise ClientUsageError(_NO_STREAMS)
        message = track_options(normalized_options(options), rate)
        shot = _Shot(request_id, self._timeout if timeout is None else timeout, self._budget)
        return _answers_async(self._rpc, frames, message, shot)

    async def models(self, *, timeout: float | None = None) -> list[ModelDescription]:
        """As `Client.models`."""
        return await self._send(timeout, None, self._transport.models)

    async def close(self) -> None:
        """Closes the connections."""
        self._is_closed = True
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientUsageError(_CLOSED)
        if asyncio.get_running_loop() is not self._loop:
            raise ClientUsageError(_LOOP)

    async def _send(self, timeout: float | None, request_id: str | None, send: Callable[[Attempt], Awaitable[T]]) -> T:
        self._check_open()
        limit = self._timeout if timeout is None else timeout
        attempts = Attempts(request_id or uuid.uuid4().hex, limit, self._budget)
        while True:
            try:
                return await send(attempts.next())
            except LandmarksError as error:
                await asyncio.sleep(attempts.delay_after(error))


class _Shot:
    """The attempts at a stream of frames. Every answer is progress: after it the time for further attempts begins."""

    def __init__(self, request_id: str | None, timeout: float, budget: RetryBudget) -> None:
        """Raises ClientUsageError as `Attempts` does."""
        self._arguments = request_id or uuid.uuid4().hex, timeout, budget
        self._attempts: Attempts | None = Attempts(*self._arguments)
        self._is_under_way = False

    def attempt(self) -> Attempt:
        if self._attempts is None:
            self._attempts = Attempts(*self._arguments)
        return self._attempts.next()

    def goes_on(self) -> None:
        """An answer has arrived."""
        self._attempts, self._is_under_way = None, True

    def delay_after(self, error: LandmarksError, *, is_idle: bool) -> float:
        """Seconds before the stream is continued. Raises `error` where it is not. `is_idle`: no answer was missing."""
        if self._is_under_way and error.code in _BROKEN:
            if is_idle:
                return 0.0
            error.retry_after = error.retry_after or 0.0
        if self._attempts is None:
            self._attempts = Attempts(*self._arguments)
        return self._attempts.delay_after(error)


def _answers(
    transport: RpcTransport, frames: Iterable[AnyFrame], options: TrackOptions, shot: _Shot
) -> Iterator[TrackedFrame]:
    with closing(Progress(frames, options)) as progress:
        while progress.wait():  # a stream without frames would end: the service waits for them no longer than it must
            try:
                with closing(transport.track(progress, shot.attempt())) as answers:
                    for answer in answers:
                        shot.goes_on()
                        yield answer
            except LandmarksError as error:
                time.sleep(shot.delay_after(error, is_idle=progress.is_idle))
        progress.check()


async def _answers_async(
    transport: AsyncRpcTransport,
    frames: Iterable[AnyFrame] | AsyncIterable[AnyFrame],
    options: TrackOptions,
    shot: _Shot,
) -> AsyncIterator[TrackedFrame]:
    async with aclosing(AsyncProgress(frames, options)) as progress:
        while await progress.wait():
            try:
                async with aclosing(transport.track(progress, shot.attempt())) as answers:
                    async for answer in answers:
                        shot.goes_on()
                        yield answer
            except LandmarksError as error:
                await asyncio.sleep(shot.delay_after(error, is_idle=progress.is_idle))
        progress.check()


def _read_part(image: Image, options: Options) -> ImagePart:
    content = image_bytes(image, "an image is the bytes of a file, or its path")
    return ImagePart(content, normalized_options(options))


def _read_parts(images: Sequence[Image], options: Options, each: Sequence[Options] | None) -> list[ImagePart]:
    for name, values in (("images", images), ("each", [] if each is None else each)):
        if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Sequence):
            advice = f"list({name})" if isinstance(values, Iterator) else "a list"
            raise ClientUsageError(
                f"landmarks_batch takes a list as {name}, not {type(values).__name__}: pass {advice}"
            )
    own: Sequence[Options] = [{}] * len(images) if each is None else each
    if len(own) != len(images):
        raise ClientUsageError(f"`each` has {len(own)} options for {len(images)} images: give one for each image")
    return [_read_part(image, {**options, **more}) for image, more in zip(images, own, strict=True)]
