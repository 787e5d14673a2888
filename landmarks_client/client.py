"""The client, for code that waits and for code that awaits. How a request travels is in `rest` and `rpc`."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from landmarks_client.errors import LandmarksError
from landmarks_client.rest import AsyncRestTransport, RestTransport
from landmarks_client.results import Answer, ModelDescription
from landmarks_client.retry import Attempts
from landmarks_client.rpc import AsyncRpcTransport, RpcTransport
from landmarks_client.wire import (
    AsyncTransport,
    Call,
    ClientUsageError,
    Image,
    Options,
    Outcome,
    Part,
    Tls,
    Transport,
    access,
    plain,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class Client:
    """One service. Its connections are kept, and may be used by several threads at a time.

    Overload and a network that is away are waited out: a request is sent again after the time the service asks for, as
    long as its timeout allows.
    """

    def __init__(self, url: str, *, api_key: str | None = None, tls: Tls | None = None, timeout: float = 30.0) -> None:
        """`url`: http://host:port or https://, grpc://host:port or grpcs://. `timeout`: seconds, retries included.

        Raises ClientUsageError for another kind of address, and for a key or TLS options that cannot be used.
        """
        self._timeout = timeout
        where = access(url, api_key, tls)
        self._transport: Transport = RpcTransport(where) if "grpc" in where.scheme else RestTransport(where)

    def landmarks(
        self, image: Image, *, timeout: float | None = None, request_id: str | None = None, **options: Unpack[Options]
    ) -> Answer:
        """The faces of one image.

        `timeout`: seconds for this request, instead of the client's. `request_id`: your own, at most 128 plain
        characters. Raises ServiceProblem, NoAnswer, OSError for a file that cannot be read, or ClientUsageError for
        what cannot be sent.
        """
        part = _part(image, options)
        return self._tried(timeout, request_id, lambda call: self._transport.detect(part, call))

    def landmarks_batch(
        self,
        images: Sequence[Image],
        *,
        each: Sequence[Options] | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> list[Outcome]:
        """Several images in one call: for each, in their order, its answer or the problem with it.

        `options` are for all images; `each` has more of them for each image. Raises as `landmarks` does for a call that
        fails as a whole, and ClientUsageError where `each` is not as long as `images`.
        """
        parts = _parts(images, options, each)
        return self._tried(timeout, request_id, lambda call: self._transport.detect_batch(parts, call))

    def models(self, *, timeout: float | None = None) -> list[ModelDescription]:
        """The models that can be asked for. Raises ServiceProblem or NoAnswer."""
        return self._tried(timeout, None, self._transport.models)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tried(self, timeout: float | None, request_id: str | None, send: Callable[[Call], T]) -> T:
        attempts = Attempts(request_id or uuid.uuid4().hex, self._timeout if timeout is None else timeout)
        while True:
            try:
                return send(attempts.next())
            except LandmarksError as error:
                time.sleep(attempts.wait_after(error))


class AsyncClient:
    """As `Client`, for one event loop. A request that is cancelled is given up, and the service told so."""

    def __init__(self, url: str, *, api_key: str | None = None, tls: Tls | None = None, timeout: float = 30.0) -> None:
        """As `Client`; to be called where an event loop runs."""
        self._timeout = timeout
        where = access(url, api_key, tls)
        self._transport: AsyncTransport = (
            AsyncRpcTransport(where) if "grpc" in where.scheme else AsyncRestTransport(where)
        )

    async def landmarks(
        self, image: Image, *, timeout: float | None = None, request_id: str | None = None, **options: Unpack[Options]
    ) -> Answer:
        """As `Client.landmarks`."""
        part = await asyncio.to_thread(_part, image, options)
        return await self._tried(timeout, request_id, lambda call: self._transport.detect(part, call))

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
        parts = await asyncio.to_thread(_parts, images, options, each)
        return await self._tried(timeout, request_id, lambda call: self._transport.detect_batch(parts, call))

    async def models(self, *, timeout: float | None = None) -> list[ModelDescription]:
        """As `Client.models`."""
        return await self._tried(timeout, None, self._transport.models)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _tried(self, timeout: float | None, request_id: str | None, send: Callable[[Call], Awaitable[T]]) -> T:
        attempts = Attempts(request_id or uuid.uuid4().hex, self._timeout if timeout is None else timeout)
        while True:
            try:
                return await send(attempts.next())
            except LandmarksError as error:
                await asyncio.sleep(attempts.wait_after(error))


def _part(image: Image, options: Options) -> Part:
    content = Path(image).read_bytes() if isinstance(image, (str, Path)) else image
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise ClientUsageError(f"an image is the bytes of a file, or its path, not {type(image).__name__}")
    return Part(bytes(content), plain(options))


def _parts(images: Sequence[Image], options: Options, each: Sequence[Options] | None) -> list[Part]:
    own: Sequence[Options] = [{}] * len(images) if each is None else each
    if len(own) != len(images):
        raise ClientUsageError(f"`each` has {len(own)} options for {len(images)} images: give one for each image")
    return [_part(image, {**options, **more}) for image, more in zip(images, own, strict=True)]
