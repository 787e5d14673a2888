"""The command `landmarks detect`: photographs in, their points as JSON or CSV, and drawn if wanted."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
from tqdm import tqdm

from landmarks.layout import WFLW98, PointLayout
from landmarks_client import AsyncClient, ClientUsageError, LandmarksError, NoAnswer, Tls
from landmarks_client import Options as Asked
from service.bootstrap import image_limits, running_gateway
from service.cli.inputs import expand, name_of, overlay_paths
from service.cli.outputs import Body, Records, RecordsError, make_format, new_file, resumed_file
from service.deadline import Deadline
from service.drawing import draw
from service.errors import ErrorKind, ServiceError, translate
from service.images.decode import decode_srgb
from service.request import Options
from service.request_ids import request_id_or_new
from service.settings import Settings
from service.wire.json import answer_body

Ask = Callable[[bytes], Awaitable[Body]]
"""Image file -> the wire's answer. Raises DetectError, or what ends the run."""

INTERRUPTED: Final = 130
"""What a shell makes of a program that Ctrl-C ended."""
_KEY_VARIABLE: Final = "LANDMARKS_API_KEY"


class UsageError(Exception):
    """Arguments that make no sense together; the message says what to do."""


class DetectError(Exception):
    """One photograph could not be answered; the message says why, the code is the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph: an answer, a failure, or an answer that could not be drawn."""

    photo: Path
    body: Body | None = None
    failure: DetectError | None = None


async def detect(arguments: argparse.Namespace, settings: Settings) -> int:
    """Answers every photograph. Returns the exit status: 0, 1 where one of them failed, 2 for arguments that make no
    sense together, 130 for Ctrl-C.
    """
    with AsyncioInterrupt() as interrupt:
        try:
            return await _detect(arguments, settings)
        except (RecordsError, UsageError, ClientUsageError) as error:
            sys.stderr.write(f"landmarks: {error}\n")
            return 1 if isinstance(error, RecordsError) else 2
        except asyncio.CancelledError:
            if not interrupt.came:
                raise
            hint = "; --resume goes on from here" if arguments.out else ""
            sys.stderr.write(f"landmarks: interrupted{hint}\n")
            return INTERRUPTED


async def _detect(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.overlay and "points" in arguments.omit:
        raise UsageError("--overlay draws the points: do not omit them")
    photos = expand(arguments.photos)
    overlays = overlay_paths(arguments.overlay, photos) if arguments.overlay else {}
    with _records(arguments) as records:
        left = [photo for photo in photos if name_of(photo) not in records.held]
        if len(left) < len(photos):
            sys.stderr.write(f"landmarks: {arguments.out} holds {len(photos) - len(left)} of {len(photos)} already\n")
        if not photos:
            raise UsageError("there is no photograph in these folders")
        if not left:
            return 0
        async with AsyncExitStack() as stack:
            ask, layout = await stack.enter_async_context(_asker(arguments, settings))
            answered = _answerer(ask, overlays, settings, layout)
            return await _record(left, answered, records, arguments)


async def _record(
    photos: list[Path],
    answered: Callable[[Path], Awaitable[Outcome]],
    records: Records,
    arguments: argparse.Namespace,
) -> int:
    """Writes each outcome in the photographs' order, and says at the end what failed."""
    failures: Counter[str] = Counter()
    on_screen = arguments.out is None and sys.stdout.isatty()  # a bar would stand between the lines
    with tqdm(total=len(photos), unit="photo", disable=True if on_screen else None, leave=False) as bar:
        async with aclosing(in_order(photos, answered, arguments.concurrency)) as outcomes:
            async for outcome in outcomes:
                if outcome.body is not None:
                    records.add(name_of(outcome.photo), outcome.body)
                if outcome.failure is not None:
                    failures[outcome.failure.code] += 1
                    bar.clear()
                    sys.stderr.write(f"{outcome.photo}: {outcome.failure}\n")
                bar.update()
    if failures and len(photos) > 1:
        counts = ", ".join(f"{count} {code}" for code, count in failures.most_common())
        sys.stderr.write(f"landmarks: {failures.total()} of {len(photos)} photographs failed: {counts}\n")
    return 1 if failures else 0


async def in_order(
    photos: list[Path], answered: Callable[[Path], Awaitable[Outcome]], concurrency: int
) -> AsyncGenerator[Outcome, None]:
    """The outcomes in the photographs' order, `concurrency` of them worked on at a time."""
    turns = asyncio.Semaphore(concurrency)

    async def one(photo: Path) -> Outcome:
        async with turns:
            return await answered(photo)

    begun: deque[asyncio.Task[Outcome]] = deque()
    try:
        for photo in photos:
            begun.append(asyncio.create_task(one(photo)))
            if len(begun) > 2 * concurrency:  # so that a slow one in front keeps nobody waiting
                yield await begun[0]
                begun.popleft()
        while begun:
            yield await begun[0]
            begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


def _answerer(
    ask: Ask, overlays: dict[Path, Path], settings: Settings, layout: PointLayout
) -> Callable[[Path], Awaitable[Outcome]]:
    async def answered(photo: Path) -> Outcome:
        outcome = Outcome(photo)
        try:
            data = await asyncio.to_thread(photo.read_bytes)
            outcome = Outcome(photo, await ask(data))
            if photo in overlays:
                await asyncio.to_thread(_draw, data, outcome.body or {}, overlays[photo], settings, layout)
        except DetectError as error:
            return replace(outcome, failure=error)
        except ServiceError as error:  # answered elsewhere, under other limits
            return replace(outcome, failure=DetectError(error.kind.value, f"cannot be drawn: {error.message}"))
        except OSError as error:
            return replace(outcome, failure=DetectError("unreadable", error.strerror or str(error)))
        return outcome

    return answered


def _draw(data: bytes, body: Body, overlay: Path, settings: Settings, layout: PointLayout) -> None:
    image = decode_srgb(data, image_limits(settings))
    try:
        drawn = draw(image, [np.array(face["points"]) for face in body["faces"]], layout)
    except ValueError as error:  # a service elsewhere may serve a model of another layout
        raise DetectError("unwritable", f"cannot be drawn: {error}") from error
    picture = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
    try:
        written = cv2.imwrite(str(overlay), picture)
    except cv2.error:  # a name that ends like no picture it knows
        written = False
    if not written:
        message = f"cannot write {overlay}: is there such a folder, and is it named .png or .jpg?"
        raise DetectError("unwritable", message)


@contextmanager
def _records(arguments: argparse.Namespace) -> Iterator[Records]:
    """Standard output, or the file of --out. Raises RecordsError."""
    out: Path | None = arguments.out
    by_suffix = out.suffix[1:].lower() if out and out.suffix.lower() in (".csv", ".json") else "jsonl"
    form = make_format(arguments.format or by_suffix, arguments.omit)
    if out is None:
        if arguments.resume:
            raise UsageError("--resume goes on with the file of --out: name one")
        stream, records = None, Records(form, sys.stdout.buffer)
    else:
        stream, records = (resumed_file if arguments.resume else new_file)(out, form)
    try:
        yield records
    finally:
        records.close()
        if stream is not None:
            stream.close()


def _asker(arguments: argparse.Namespace, settings: Settings) -> Any:
    given: dict[str, Any] = {
        name: value
        for name in ("topk", "max_faces", "detector_threshold", "model", "decoder")
        if (value := getattr(arguments, name)) is not None
    }
    boxes = tuple(arguments.box)
    if arguments.url is None:
        return _here(settings, Options(boxes=boxes, flip=arguments.flip, omit=arguments.omit, **given))
    asked = {"boxes": boxes, "omit": arguments.omit, **({"flip": True} if arguments.flip else {}), **given}
    return _elsewhere(arguments, settings, cast(Asked, asked))


@asynccontextmanager
async def _here(settings: Settings, options: Options) -> AsyncIterator[tuple[Ask, PointLayout]]:
    """The whole chain in this process, with the Triton that the settings choose."""
    if settings.log_level == "info":
        logging.getLogger("service").setLevel("WARNING")  # that all goes well is for a server's log
    async with running_gateway(settings) as gateway:

        async def ask(data: bytes) -> Body:
            try:
                answer = await gateway.pipeline.detect(data, options, Deadline.after(settings.request_timeout))
            except Exception as error:
                failure = translate(error)
                raise DetectError(failure.kind.value, f"{failure.message} ({failure.kind.value})") from error
            return answer_body(answer, request_id_or_new(None))

        yield ask, gateway.models[0].metadata.layout


@asynccontextmanager
async def _elsewhere(
    arguments: argparse.Namespace, settings: Settings, options: Asked
) -> AsyncIterator[tuple[Ask, PointLayout]]:
    """A service that runs already. Raises ClientUsageError; asking it raises UsageError where it wants another key."""
    files = (arguments.ca, arguments.cert, arguments.key)
    tls = Tls(*files) if any(files) else None
    logging.getLogger("httpx").setLevel("WARNING")  # it tells of every request
    client = AsyncClient(
        arguments.url, api_key=os.environ.get(_KEY_VARIABLE), tls=tls, timeout=settings.request_timeout
    )
    async with client:

        async def ask(data: bytes) -> Body:
            try:
                return (await client.landmarks(data, **options)).as_dict()
            except LandmarksError as error:
                if error.code == ErrorKind.UNAUTHENTICATED.value:  # nor would it answer the next photograph
                    raise UsageError(f"{error.title}: set {_KEY_VARIABLE} to a key of {arguments.url}") from error
                advice = f"; {error.action}" if isinstance(error, NoAnswer) else ""  # a problem's detail has its own
                raise DetectError(error.code, f"{error}{advice}") from error

        yield ask, WFLW98


class AsyncioInterrupt:
    """Ctrl-C cancels the running task instead of breaking into whatever runs. A second one does that."""

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> AsyncioInterrupt:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupted() -> None:
            self.came = True
            loop.remove_signal_handler(signal.SIGINT)
            if task is not None:
                task.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupted)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
