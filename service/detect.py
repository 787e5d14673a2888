"""The command `landmarks detect`: photographs in, JSON on standard output, a picture of the points if wanted."""

from __future__ import annotations

import argparse
import asyncio
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import orjson

from service.bootstrap import running_gateway
from service.drawing import draw
from service.errors import ServiceError, translate
from service.gateway import request_id
from service.images import ImageLimits, decode_image
from service.options import Options
from service.rest.convert import answer_json
from service.settings import Settings

Ask = Callable[[bytes], Awaitable[bytes]]
"""Image file -> the wire's JSON. Raises DetectError."""


class DetectError(Exception):
    """One photograph could not be answered; the message says why."""


async def detect(arguments: argparse.Namespace, settings: Settings) -> int:
    """Answers each photograph with a line of JSON. Returns the exit status: 0 unless one of them failed."""
    options = Options(tuple(arguments.box), arguments.topk, arguments.max_faces)
    asker = _over_http(arguments.url, options) if arguments.url else _here(settings, options)
    failures = 0
    async with asker as ask:
        for photo in arguments.photos:
            try:
                await _detect_one(photo, ask, _overlay_path(arguments, photo), settings)
            except (DetectError, OSError) as error:
                failures += 1
                sys.stderr.write(f"{photo}: {error}\n")
    return 1 if failures else 0


async def _detect_one(photo: Path, ask: Ask, overlay: Path | None, settings: Settings) -> None:
    data = photo.read_bytes()
    answer = await ask(data)
    sys.stdout.write(answer.decode() + "\n")
    sys.stdout.flush()
    if overlay is not None:
        image = decode_image(data, ImageLimits(settings.max_bytes, settings.max_pixels))
        faces = [np.array(face["points"]) for face in orjson.loads(answer)["faces"]]
        picture = cv2.cvtColor(draw(image, faces), cv2.COLOR_RGB2BGR)
        try:
            written = cv2.imwrite(str(overlay), picture)
        except cv2.error:  # a name that ends like no picture it knows
            written = False
        if not written:
            raise DetectError(f"cannot write {overlay}: is there such a folder, and is it named .png or .jpg?")


def _overlay_path(arguments: argparse.Namespace, photo: Path) -> Path | None:
    """The overlay's file; with several photographs, `--overlay out.png` means out-<name of the photo>.png."""
    overlay: Path | None = arguments.overlay
    if overlay is None or len(arguments.photos) == 1:
        return overlay
    return overlay.with_name(f"{overlay.stem}-{photo.stem}{overlay.suffix}")


@asynccontextmanager
async def _here(settings: Settings, options: Options) -> AsyncIterator[Ask]:
    """The whole chain in this process, with the Triton that the settings choose."""
    async with running_gateway(settings) as gateway:

        async def ask(data: bytes) -> bytes:
            try:
                answer = await gateway.pipeline.detect(data, options, settings.request_timeout)
            except Exception as error:
                failure: ServiceError = translate(error)
                raise DetectError(f"{failure.message} ({failure.kind.value})") from error
            return answer_json(answer, request_id(None))

        yield ask


@asynccontextmanager
async def _over_http(url: str, options: Options) -> AsyncIterator[Ask]:
    """A gateway that runs elsewhere."""
    query = [("box", ",".join(map(str, box))) for box in options.boxes]
    query += [(name, str(value)) for name in ("topk", "max_faces") if (value := getattr(options, name)) is not None]
    target = f"{url.rstrip('/')}/v1/landmarks?{urllib.parse.urlencode(query)}"

    async def ask(data: bytes) -> bytes:
        return await asyncio.to_thread(_post, target, data)

    yield ask


def _post(target: str, data: bytes) -> bytes:
    request = urllib.request.Request(target, data, {"Content-Type": "application/octet-stream"})  # noqa: S310
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        with error:
            raise DetectError(_reason(error.read(), error.code)) from error
    except urllib.error.URLError as error:
        raise DetectError(f"no answer from {target.partition('/v1/')[0]}: {error.reason}") from error


def _reason(body: bytes, status: int) -> str:
    try:
        problem = orjson.loads(body)
        return f"{problem['detail']} ({problem['code']})"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"the gateway answered with HTTP status {status}"
