"""Who answers the images of a command: the pipeline in this process, or a service that is already running."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, Final, NamedTuple, cast

import cv2

from landmarks.layout import WFLW98, PointLayout
from landmarks_client import AsyncClient, LandmarksError, NoAnswer, Tls
from landmarks_client import Options as ClientOptions
from service.bootstrap import running_gateway
from service.cli.arguments.common import ServiceArguments
from service.cli.outputs import Body
from service.deadline import Deadline
from service.errors import ErrorKind, translate
from service.images.pixels import Pixels
from service.images.raw import RawImage
from service.request import Options
from service.request_ids import request_id_or_new
from service.settings import Settings
from service.wire.json import answer_body

_KEY_VARIABLE: Final = "LANDMARKS_API_KEY"


class UsageError(Exception):
    """Arguments that make no sense together; the message says what to do."""


class ImageError(Exception):
    """One image could not be answered or drawn; the message says why, the code is the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Answering(NamedTuple):
    answer: Callable[[bytes, Options], Awaitable[Body]]
    """Image file -> the wire's answer. Raises ImageError, or UsageError, which ends the run."""
    answer_pixels: Callable[[Pixels, Options], Awaitable[Body]]
    """The same for pixels, which no file costs time in this process."""
    layout: PointLayout
    """Of the points, to draw them. Of a remote service it is taken to be the shipped models'."""


def answering(service: ServiceArguments, settings: Settings) -> AbstractAsyncContextManager[Answering]:
    """By the service of --url where there is one. Raises StartError or ClientUsageError."""
    return _in_process(settings) if service.url is None else _remote(service.url, service, settings)


def _client_options(options: Options) -> ClientOptions:
    """As the client wants them: what is not given is left out, and a set is a list."""
    given: dict[str, Any] = options.model_dump(exclude_defaults=True)
    given = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in given.items()}
    return cast(ClientOptions, given)


@contextmanager
def warnings_only() -> Iterator[None]:
    """Within, the service's log leaves out what is below a warning; after it, its level is what it was."""
    log = logging.getLogger("service")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


@asynccontextmanager
async def _in_process(settings: Settings) -> AsyncIterator[Answering]:
    """The pipeline in this process, with the Triton that the settings choose."""
    # that all is well is for a server's log
    with warnings_only() if settings.log_level == "info" else nullcontext():
        async with running_gateway(settings) as gateway:

            async def answer(data: bytes | RawImage, options: Options) -> Body:
                try:
                    found = await gateway.pipeline.detect(data, options, Deadline.after(settings.request_timeout))
                except Exception as error:
                    failure = translate(error)
                    raise ImageError(failure.kind.value, f"{failure.message} ({failure.kind.value})") from error
                return answer_body(found, request_id_or_new(None))

            async def answer_pixels(pixels: Pixels, options: Options) -> Body:
                return await answer(RawImage.of(pixels), options)

            yield Answering(answer, answer_pixels, gateway.models[0].metadata.layout)


@asynccontextmanager
async def _remote(url: str, service: ServiceArguments, settings: Settings) -> AsyncIterator[Answering]:
    files = (service.ca, service.cert, service.key)
    tls = Tls(*files) if any(files) else None
    client = AsyncClient(url, api_key=os.environ.get(_KEY_VARIABLE), tls=tls, timeout=settings.request_timeout)
    async with client:

        async def answer(data: bytes, options: Options) -> Body:
            try:
                return (await client.landmarks(data, **_client_options(options))).as_dict()
            except LandmarksError as error:
                if error.code == ErrorKind.UNAUTHENTICATED.value:  # nor would it answer the next image
                    raise UsageError(f"{error.title}: set {_KEY_VARIABLE} to a key of {url}") from error
                advice = f"; {error.action}" if isinstance(error, NoAnswer) else ""  # a problem's detail has its own
                raise ImageError(error.code, f"{error}{advice}") from error

        async def answer_pixels(pixels: Pixels, options: Options) -> Body:
            return await answer(await asyncio.to_thread(_png, pixels), options)

        yield Answering(answer, answer_pixels, WFLW98)


def _png(pixels: Pixels) -> bytes:
    """A file without loss, hardly compressed: it is read again at once."""
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()
