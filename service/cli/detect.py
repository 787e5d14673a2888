"""The command `landmarks detect`: images in, their points as JSON or CSV, and drawn if wanted."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tqdm import tqdm

from landmarks.layout import PointLayout
from landmarks_client import ClientUsageError
from service.bootstrap import image_limits
from service.cli.answering import Answering, ImageError, UsageError, answering
from service.cli.command_line import Detect, OutputArguments
from service.cli.inputs import expand, name_of, overlay_paths
from service.cli.interrupt import AsyncioInterrupt
from service.cli.outputs import Body, Output, OutputError, make_format, new_file, resumed_file
from service.drawing import draw
from service.errors import ServiceError
from service.images.decode import decode_srgb
from service.settings import Settings

INTERRUPTED: Final = 130
"""What a shell reports of a program that Ctrl-C ended."""


@dataclass(frozen=True)
class Outcome:
    """Of one image: an answer, a failure, or an answer that could not be drawn."""

    image: Path
    body: Body | None = None
    failure: ImageError | None = None


async def detect(command: Detect) -> int:
    """Answers every image. Returns the exit status: 0, 1 where one of them failed, 2 for arguments that make no sense
    together, 130 for Ctrl-C.
    """
    with AsyncioInterrupt() as interrupt:
        try:
            return await _detect(command)
        except (OutputError, UsageError, ClientUsageError) as error:
            sys.stderr.write(f"landmarks: {error}\n")
            return 1 if isinstance(error, OutputError) else 2
        except asyncio.CancelledError:
            if not interrupt.came:
                raise
            hint = "; continue with --resume" if command.output.out else ""
            sys.stderr.write(f"landmarks: interrupted{hint}\n")
            return INTERRUPTED


async def _detect(command: Detect) -> int:
    overlay, omit = command.output.overlay, command.options.omit
    if overlay and "points" in omit:
        raise UsageError("--overlay draws the points: do not omit them")
    images = expand(command.images)
    overlays = overlay_paths(overlay, images) if overlay else {}
    with _output(command.output, omit) as output:
        remaining = [image for image in images if name_of(image) not in output.completed]
        if len(remaining) < len(images):
            done = len(images) - len(remaining)
            sys.stderr.write(f"landmarks: {command.output.out} holds {done} of {len(images)} images already\n")
        if not images:
            raise UsageError("there is no image in these folders")
        if not remaining:
            return 0
        async with answering(command) as service:
            process = _processor(service, overlays, command.settings)
            return await _write(remaining, process, output, command.output)


async def _write(
    images: list[Path], process: Callable[[Path], Awaitable[Outcome]], output: Output, arguments: OutputArguments
) -> int:
    """Writes each outcome in the images' order, and reports at the end what failed."""
    failures: Counter[str] = Counter()
    on_screen = arguments.out is None and sys.stdout.isatty()  # a bar would appear between the lines
    with tqdm(total=len(images), unit="image", disable=True if on_screen else None, leave=False) as bar:
        async with aclosing(in_order(images, process, arguments.concurrency)) as outcomes:
            async for outcome in outcomes:
                if outcome.body is not None:
                    output.add(name_of(outcome.image), outcome.body)
                if outcome.failure is not None:
                    failures[outcome.failure.code] += 1
                    bar.clear()
                    sys.stderr.write(f"{outcome.image}: {outcome.failure}\n")
                bar.update()
    if failures and len(images) > 1:
        counts = ", ".join(f"{count} {code}" for code, count in failures.most_common())
        sys.stderr.write(f"landmarks: {failures.total()} of {len(images)} images failed: {counts}\n")
    return 1 if failures else 0


async def in_order(
    images: list[Path], process: Callable[[Path], Awaitable[Outcome]], concurrency: int
) -> AsyncGenerator[Outcome, None]:
    """The outcomes in the images' order, `concurrency` of them processed at a time."""
    slots = asyncio.Semaphore(concurrency)

    async def one(image: Path) -> Outcome:
        async with slots:
            return await process(image)

    tasks: deque[asyncio.Task[Outcome]] = deque()
    try:
        for image in images:
            tasks.append(asyncio.create_task(one(image)))
            if len(tasks) > 2 * concurrency:  # so that a slow first image does not hold up the others
                yield await tasks[0]
                tasks.popleft()
        while tasks:
            yield await tasks[0]
            tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _processor(
    service: Answering, overlays: dict[Path, Path], settings: Settings
) -> Callable[[Path], Awaitable[Outcome]]:
    async def process(image: Path) -> Outcome:
        outcome = Outcome(image)
        try:
            data = await asyncio.to_thread(image.read_bytes)
            outcome = Outcome(image, await service.answer(data))
            if image in overlays:
                await asyncio.to_thread(_draw, data, outcome.body or {}, service.layout, overlays[image], settings)
        except ImageError as error:
            return replace(outcome, failure=error)
        except ServiceError as error:  # a remote service answered it under other limits than ours
            return replace(outcome, failure=ImageError(error.kind.value, f"cannot be drawn: {error.message}"))
        except OSError as error:
            return replace(outcome, failure=ImageError("unreadable", error.strerror or str(error)))
        return outcome

    return process


def _draw(data: bytes, body: Body, layout: PointLayout, overlay: Path, settings: Settings) -> None:
    image = decode_srgb(data, image_limits(settings))
    drawn = draw(image, [np.array(face["points"]) for face in body["faces"]], layout)
    try:
        written = cv2.imwrite(str(overlay), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    except cv2.error:  # the name ends like no image format
        written = False
    if not written:
        message = f"cannot write {overlay}: does its folder exist, and is it named .png or .jpg?"
        raise ImageError("unwritable", message)


@contextmanager
def _output(arguments: OutputArguments, omit: frozenset[str]) -> Iterator[Output]:
    """Standard output, or the file of --out. Raises OutputError or UsageError."""
    out = arguments.out
    by_suffix = out.suffix[1:].lower() if out and out.suffix.lower() in (".csv", ".json") else "jsonl"
    form = make_format(arguments.format or by_suffix, omit)
    if out is None:
        if arguments.resume:
            raise UsageError("--resume continues the file of --out: name one")
        stream, output = None, Output(form, sys.stdout.buffer)
    else:
        stream, output = (resumed_file if arguments.resume else new_file)(out, form)
    try:
        yield output
    finally:
        output.close()
        if stream is not None:
            stream.close()
