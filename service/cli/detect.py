"""The command `landmarks detect`: images in, their points as JSON or CSV, and drawn if wanted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from tqdm import tqdm

from landmarks.layout import PointLayout
from landmarks_client import ClientUsageError
from service.bootstrap import image_limits
from service.cli.answering import Answering, ImageError, UsageError, answering
from service.cli.arguments.detect import Detect, OutputArguments
from service.cli.drawings import write_image
from service.cli.inputs import Inputs, expand, name_of, overlay_paths
from service.cli.interrupt import INTERRUPTED, AsyncioInterrupt
from service.cli.outputs import Body, Output, OutputError, make_format, new_file, resumed_file
from service.drawing import draw
from service.errors import ErrorKind, ServiceError
from service.images.decode import decode_srgb
from service.images.limits import ImageLimits
from service.images.pixels import Pixels
from service.settings import variable

_URL: Final = re.compile("https?:/", re.IGNORECASE)
"""How the path of a URL begins: a path has no two slashes in a row."""


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
    inputs = expand(command.images)
    images = inputs.images
    _report(inputs)
    if not images:
        raise UsageError("there is no image in these folders")
    overlays = overlay_paths(overlay, images) if overlay else {}
    _check_outputs(images, overlays, command.output)
    with _output(command.output, omit) as output:
        remaining = [image for image in images if name_of(image) not in output.completed]
        if len(remaining) < len(images):
            done = len(images) - len(remaining)
            sys.stderr.write(f"landmarks: {command.output.out} holds {done} of {len(images)} images already\n")
        status = 0
        if remaining:
            async with answering(command.service, command.settings) as service:
                process = _processor(service, overlays, command)
                status = await _write(remaining, process, output, command.output)
    return 1 if inputs.unread else status


def _check_outputs(images: list[Path], overlays: Mapping[Path, Path], arguments: OutputArguments) -> None:
    """Before anything is computed. Raises UsageError for an output that is an image of the command line or another
    output, OutputError for a drawing that exists and may not be replaced.
    """
    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume continues the output, --overwrite replaces it: choose one")
    outputs = {_identity(path): f"--overlay: {path}" for path in overlays.values()}
    if (out := arguments.out) is not None:
        if _identity(out) in outputs:
            raise UsageError(f"--out: {out} is the file of --overlay: choose another")
        outputs[_identity(out)] = f"--out: {out}"
    for image in images:
        if output := outputs.get(_identity(image)):
            raise UsageError(f"{output} would overwrite the image {image}: choose another name")
    existing = [path for path in overlays.values() if isinstance(_identity(path), tuple)]
    if existing and not (arguments.overwrite or arguments.resume):
        more = f" and {len(existing) - 1} more exist" if len(existing) > 1 else " exists"
        raise OutputError(f"{existing[0]}{more}: add --overwrite to replace drawings, or choose another --overlay")


def _identity(path: Path) -> tuple[int, int] | str:
    """Equal for two names of one file, links among them: its number where it exists, else the path."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _report(inputs: Inputs) -> None:
    """Says what the folders hold and is left out."""
    for path, reason in inputs.unread.items():
        sys.stderr.write(f"{path}: left out: {reason}\n")
    if inputs.others:
        names = ", ".join(map(str, inputs.others[:3]))
        more = f" and {len(inputs.others) - 3} more" if len(inputs.others) > 3 else ""
        sys.stderr.write(f"landmarks: left out, as hidden, no image or drawn by --overlay: {names}{more}\n")


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
    service: Answering, overlays: Mapping[Path, Path], command: Detect
) -> Callable[[Path], Awaitable[Outcome]]:
    limits = image_limits(command.settings)
    mode: Literal["wb", "xb"] = "wb" if command.output.overwrite or command.output.resume else "xb"

    async def process(image: Path) -> Outcome:
        outcome = Outcome(image)
        try:
            data = await asyncio.to_thread(_read, image, limits)
            outcome = Outcome(image, await service.answer(data, command.options))
            if image in overlays:
                drawn = await asyncio.to_thread(_drawn, data, outcome.body or {}, service.layout, limits)
                await asyncio.to_thread(write_image, drawn, overlays[image], mode)
        except ImageError as error:
            return replace(outcome, failure=error)
        except ServiceError as error:  # a remote service answered it under other limits than ours
            return replace(outcome, failure=ImageError(error.kind.value, f"cannot be drawn: {error.message}"))
        except OSError as error:
            return replace(outcome, failure=ImageError("unreadable", error.strerror or str(error)))
        return outcome

    return process


def _read(image: Path, limits: ImageLimits) -> bytes:
    """The file, of which no more is read than the limit allows.

    Raises ImageError for a larger one and for a URL, and OSError.
    """
    if _URL.match(str(image)):
        raise ImageError("unreadable", "a URL is not read: curl URL | landmarks detect -")
    with image.open("rb") as file:
        data = file.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        message = f"the image file has more than {limits.max_bytes} bytes: shrink it, or set {variable('max_bytes')}"
        raise ImageError(ErrorKind.TOO_MANY_BYTES.value, f"{message} ({ErrorKind.TOO_MANY_BYTES.value})")
    return data


def _drawn(data: bytes, body: Body, layout: PointLayout, limits: ImageLimits) -> Pixels:
    """The image with the points of its faces. Raises ServiceError."""
    return draw(decode_srgb(data, limits), [np.array(face["points"]) for face in body["faces"]], layout)


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
        if arguments.resume:
            stream, output = resumed_file(out, form)
        else:
            stream, output = new_file(out, form, overwrite=arguments.overwrite)
    try:
        yield output
    finally:
        output.close()
        if stream is not None:
            stream.close()
