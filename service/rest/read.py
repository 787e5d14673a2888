"""HTTP request -> image bytes and options, for the three forms of body. Nothing larger than its limit is kept."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final, NamedTuple

import orjson
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from service.errors import ErrorKind, ServiceError
from service.images import too_many_bytes
from service.pipeline import Options

FORM_OVERHEAD: Final = 2**20
"""Bytes that a form or JSON may have beside its image."""
_DRAIN_SECONDS: Final = 2.0


class Read(NamedTuple):
    image: bytes
    options: Options


async def read_request(request: Request, max_bytes: int) -> Read:
    """Raises ServiceError of kind INVALID_REQUEST, INVALID_BOX, UNSUPPORTED_MEDIA_TYPE or TOO_MANY_BYTES."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type in ("", "application/octet-stream") or media_type.startswith("image/"):
        options = query_options(request)
        return Read(await _body(request, max_bytes, max_bytes), options)
    if request.query_params:
        raise _invalid("the options of a form or of JSON belong into the body, not into the query")
    if media_type == "application/json":
        body = await _body(request, max_bytes * 4 // 3 + FORM_OVERHEAD, max_bytes)
        return await asyncio.to_thread(_from_json, body)
    if media_type == "multipart/form-data":
        return await _from_form(request, max_bytes)
    raise ServiceError(
        ErrorKind.UNSUPPORTED_MEDIA_TYPE,
        "send the image as it is with Content-Type: image/jpeg (or image/png, ...), as multipart/form-data with a part "
        "'image', or as application/json with base64",
    )


# ---------------------------------------------------------------- body


async def _body(request: Request, limit: int, max_bytes: int) -> bytes:
    return b"".join([chunk async for chunk in _bounded(request, limit, max_bytes)])


async def _bounded(request: Request, limit: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks, until there are more than `limit` bytes, announced or seen."""
    stream = request.stream()
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() and len(announced) < 19 else 0
    try:
        if size <= limit:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    break
                yield chunk
        if size > limit:
            await _drain(stream, limit)
            raise too_many_bytes(max_bytes)
    except ClientDisconnect as error:
        raise _invalid("the connection ended before the whole body had arrived") from error


async def _drain(stream: AsyncIterator[bytes], limit: int) -> None:
    """Discards what a client goes on sending, within bounds: most read their answer only when they have sent all."""

    async def discard() -> None:
        left = limit
        async for chunk in stream:
            left -= len(chunk)
            if left < 0:
                return

    try:
        await asyncio.wait_for(discard(), _DRAIN_SECONDS)
    except asyncio.TimeoutError:
        return


def _from_json(body: bytes) -> Read:
    values = _object(body, "the body")
    encoded = values.pop("image", None)
    if not isinstance(encoded, str):
        raise _invalid("the JSON needs 'image': the file's bytes in base64")
    try:
        image = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("'image' is not base64 (RFC 4648, without line breaks or a data: prefix)") from error
    return Read(image, parse_options(values))


async def _from_form(request: Request, max_bytes: int) -> Read:
    stream = _bounded(request, max_bytes + FORM_OVERHEAD, max_bytes)
    parser = MultiPartParser(request.headers, stream, max_files=2, max_fields=2, max_part_size=FORM_OVERHEAD)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeError) as error:
        raise _invalid("the form cannot be read: send one part 'image' and at most one part 'options'") from error
    try:
        if set(form) - {"image", "options"} or len(form.multi_items()) != len(form):
            raise _invalid("the form has other parts than one 'image' and at most one 'options'")
        image, options = form.get("image"), form.get("options")
        if not isinstance(image, UploadFile):
            raise _invalid("the form needs a part 'image' that is a file (with a file name)")
        text = await options.read() if isinstance(options, UploadFile) else (options or "{}")
        return Read(await image.read(), parse_options(_object(text, "the part 'options'")))
    finally:
        await form.close()


# ---------------------------------------------------------------- options


def query_options(request: Request) -> Options:
    values: dict[str, object] = {}
    for name, text in request.query_params.multi_items():
        if name == "box":
            boxes = values.setdefault("boxes", [])
            assert isinstance(boxes, list)
            boxes.append([_number(part, float) for part in text.split(",")])
        elif name in values or name == "boxes":
            raise _invalid("give ?box=x1,y1,x2,y2 once for each face, and every other option once")
        else:
            values[name] = _number(text, int)
    return parse_options(values)


def _number(text: str, kind: type[float] | type[int]) -> object:
    """The number, or the text itself where it is none: `parse_options` says what is wrong with it."""
    try:
        return kind(text)
    except ValueError:
        return text


def parse_options(values: Mapping[str, object]) -> Options:
    """The options of every form of request. Raises ServiceError of kind INVALID_REQUEST or INVALID_BOX."""
    unknown = sorted(set(values) - {"boxes", "topk", "max_faces"})
    if unknown:
        raise _invalid(f"unknown option {unknown[0][:40]!r}: there are box (boxes in JSON), topk and max_faces")
    boxes = values.get("boxes")
    if not isinstance(boxes, list | None):
        raise _invalid("boxes must be a list of [x1, y1, x2, y2]")
    return Options(
        tuple(_box(i, box) for i, box in enumerate(boxes or [])),
        _whole(values, "topk"),
        _whole(values, "max_faces"),
    )


def _box(number: int, box: object) -> tuple[float, ...]:
    if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
        raise ServiceError(ErrorKind.INVALID_BOX, f"box {number} is not four numbers x1, y1, x2, y2")
    return tuple(float(v) for v in box)


def _whole(values: Mapping[str, object], name: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise _invalid(f"{name} must be a whole number of at least 1")
    return value


def _object(text: bytes | str, what: str) -> dict[str, object]:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"{what} is not JSON (which has no NaN or Infinity either)") from error
    if not isinstance(values, dict):
        raise _invalid(f"{what} must be a JSON object")
    return values


def _invalid(message: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_REQUEST, message)
