"""HTTP request -> image bytes and options, for the three forms of body, and for a form of several images."""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import re
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import orjson
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import ErrorKind, ServiceError
from service.limits import MAX_FIELDS
from service.request import ImageRequest, invalid, read_options
from service.rest.body import bounded_body, read_body
from service.rest.options import query_options
from service.search import search

FORM_OVERHEAD: Final = 2**20
"""Bytes that a form or JSON may have in addition to its image. Parsed JSON can be 50 times as large."""
_TOO_MUCH_JSON: Final = f"the JSON beside the image has more than {FORM_OVERHEAD} bytes: send fewer boxes"
_NEEDS_IMAGE: Final = "the JSON needs 'image': the file's bytes in base64, as a string"
_PIECE: Final = 2**20
"""Characters of base64 that are decoded at a time, so that the event loop gets its turn."""
_ESCAPE: Final = 6
"""Characters of the longest escape in JSON."""


async def read_request(request: Request, max_bytes: int) -> ImageRequest:
    """Raises ServiceError of kind INVALID_REQUEST, INVALID_BOX, UNSUPPORTED_MEDIA_TYPE or TOO_MANY_BYTES."""
    _refuse_encoding(request)
    media_type = _media_type(request)
    if media_type in ("", "application/octet-stream") or media_type.startswith("image/"):
        options = query_options(request.query_params)
        return ImageRequest(await read_body(request, max_bytes), options)
    if media_type == "application/json":
        _refuse_query(request)
        body = await read_body(request, max_bytes * 4 // 3 + FORM_OVERHEAD)
        return await asyncio.to_thread(_from_json, body)
    if media_type == "multipart/form-data":
        _refuse_query(request)
        return await _from_form(request, max_bytes)
    raise ServiceError(
        ErrorKind.UNSUPPORTED_MEDIA_TYPE,
        "send the image's bytes with Content-Type: image/jpeg (or image/png, ...), multipart/form-data with a part "
        "'image', or application/json with base64",
    )


async def read_batch(request: Request, max_bytes: int, max_images: int) -> list[ImageRequest | ServiceError]:
    """Each image of a form with its options, or what is wrong with them.

    Raises as `read_request` does, and ServiceError of kind TOO_MANY_IMAGES.
    """
    _refuse_encoding(request)
    _refuse_query(request)
    if _media_type(request) != "multipart/form-data":
        raise ServiceError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, "send the images as multipart/form-data, each as a part 'image'"
        )
    wanted = "parts 'image', and options as JSON in one part 'options'"
    too_many = ServiceError(
        ErrorKind.TOO_MANY_IMAGES, f"the form has more parts than {max_images} images and their options: send several"
    )
    async with _form(request, max_bytes + FORM_OVERHEAD, wanted, max_images + 1, too_many) as form:
        images = [await _image(part) for part in form.getlist("image")]
        options = await _options(form)
    each = options if isinstance(options, list) else [options] * len(images)
    if len(each) != len(images):
        raise invalid(f"the part 'options' is a list of {len(each)} for {len(images)} images: give one for each image")
    return [_image_request(image, values) for image, values in zip(images, each, strict=True)]


def _image_request(image: bytes, values: object) -> ImageRequest | ServiceError:
    try:
        return ImageRequest(image, read_options(_object(values, "an image's options")))
    except ServiceError as error:
        return error


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _refuse_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ServiceError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, "the body has a Content-Encoding, and none is read: send it uncompressed"
        )


def _refuse_query(request: Request) -> None:
    if request.query_params:
        raise invalid("the options of a form or of JSON belong in the body, not in the query")


def _from_json(body: bytes) -> ImageRequest:
    if b"\0" in body[:4]:
        raise invalid("the body is not JSON in UTF-8 but in UTF-16 or UTF-32")
    rest, image = _without_image(body)
    if not image and _is_too_much(rest):
        raise invalid(_NEEDS_IMAGE)
    values = _object(_parsed(rest, "the body"), "the body")
    encoded = values.pop("image", None)
    if not isinstance(encoded, str):
        raise invalid(_NEEDS_IMAGE)
    try:
        data = _decoded(image if encoded == _PLACEHOLDER else encoded.encode())
    except ValueError as error:
        raise invalid("'image' is not base64 (RFC 4648, without line breaks or a data: prefix)") from error
    return ImageRequest(data, read_options(values))


_PLACEHOLDER: Final = secrets.token_hex(16)
"""Stands for the image in JSON whose image was taken out."""
_IMAGE: Final = re.compile(rb'"image"[ \t\r\n]*:[ \t\r\n]*"')


def _without_image(body: bytes) -> tuple[bytes, bytes | memoryview]:
    """The JSON with a placeholder for its first string `image`, and that string.

    The parser would make text of it, and no other part of the body may be large.
    """
    found = search(_IMAGE, body)
    end = -1 if found is None else body.find(b'"', found.end())
    if found is None or end < 0 or body[end - 1 : end] == b"\\":  # a string with an escaped quote is no base64
        return body, b""
    image = memoryview(body)[found.end() : end]
    return body[: found.end()] + _PLACEHOLDER.encode() + body[end:], image


def _decoded(encoded: bytes | memoryview) -> bytes:
    """Raises ValueError for what is not base64. Some writers of JSON escape its slashes."""
    decoded, rest, has_ended = [], b"", False
    for piece in _pieces(encoded):
        text = rest + (orjson.loads(b'"' + piece + b'"').encode() if b"\\" in piece else piece)
        if has_ended and text:
            raise binascii.Error("padding before the end")
        whole = len(text) // 4 * 4
        decoded.append(base64.b64decode(text[:whole], validate=True))
        rest, has_ended = text[whole:], b"=" in text[:whole]
    if rest:
        raise binascii.Error("the last character is missing")
    return b"".join(decoded)


def _pieces(encoded: bytes | memoryview) -> Iterator[bytes]:
    """Pieces of JSON's text, none of which ends within an escape."""
    start = 0
    while start < len(encoded):
        piece = bytes(encoded[start : start + _PIECE])
        escape = piece.rfind(b"\\", -_ESCAPE)
        if escape > 0 and start + _PIECE < len(encoded):
            piece = piece[:escape]
        yield piece
        start += len(piece)


async def _from_form(request: Request, max_bytes: int) -> ImageRequest:
    wanted = "one part 'image', and options as JSON in one part 'options'"
    not_one = invalid("the form has other parts than one 'image': several images go to /v1/landmarks/batch")
    async with _form(request, max_bytes + FORM_OVERHEAD, wanted, 2, not_one) as form:
        if len(form.getlist("image")) != 1:
            raise not_one
        values = _object(await _options(form), "the part 'options'")
        return ImageRequest(await _image(form["image"]), read_options(values))


@asynccontextmanager
async def _form(
    request: Request, limit: int, wanted: str, max_parts: int, too_many: ServiceError
) -> AsyncIterator[FormData]:
    """The form of a body of at most `limit` bytes; it has no parts but `image` and at most one `options`.

    Raises `too_many` as soon as part number `max_parts` + 1 begins.
    """
    try:
        form = await _FormParser(request.headers, bounded_body(request, limit), max_parts, too_many).parse()
    except (MultiPartException, KeyError, UnicodeError) as error:
        raise invalid(f"the form cannot be read: send {wanted}") from error
    try:
        if others := sorted(set(form) - {"image", "options"}):
            raise invalid(f"the form has a part {others[0][:40]!r}: send {wanted}")
        if len(form.getlist("options")) > 1:
            raise invalid(f"the form has several parts 'options': send {wanted}")
        yield form
    finally:
        await form.close()


class _FormParser(MultiPartParser):
    """Refuses a form that has too many parts, or ends before its last boundary, which Starlette's parser accepts."""

    # the body is bounded already, and is read into memory next: no temporary file is needed
    spool_max_size = sys.maxsize

    def __init__(self, headers: Headers, body: AsyncIterator[bytes], max_parts: int, too_many: ServiceError) -> None:
        _, parameters = parse_options_header(headers["Content-Type"])
        super().__init__(
            headers,
            self._until_complete(_after_preamble(body, b"\r\n--" + parameters.get(b"boundary", b""))),
            max_files=max_parts,
            max_fields=max_parts,
            max_part_size=FORM_OVERHEAD,
        )
        self._parts_left = max_parts
        self._too_many = too_many
        self._ended = False

    def on_part_begin(self) -> None:
        self._parts_left -= 1
        if self._parts_left < 0:
            raise self._too_many
        super().on_part_begin()

    def on_headers_finished(self) -> None:
        part = self._current_part
        _, parameters = parse_options_header(part.content_disposition)
        if parameters.get(b"name") == b"image" and b"filename" not in parameters:
            # Starlette takes a part without a file name for text
            part.content_disposition = (part.content_disposition or b"") + b'; filename="image"'
        super().on_headers_finished()

    def on_end(self) -> None:
        self._ended = True

    async def _until_complete(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in body:
            yield chunk
        if not self._ended:
            raise MultiPartException("the last boundary is missing")


async def _after_preamble(body: AsyncIterator[bytes], delimiter: bytes) -> AsyncGenerator[bytes, None]:
    """The body from its first boundary on: what precedes that is to be ignored (RFC 2046, section 5.1.1)."""
    preamble = b"\r\n"
    async for chunk in body:
        preamble += chunk
        start = preamble.find(delimiter)
        if start >= 0:
            yield preamble[start + 2 :]
            break
        preamble = preamble[-len(delimiter) :]
    async for chunk in body:
        yield chunk


async def _image(part: UploadFile | str) -> bytes:
    """A part `image`, of which the parser always makes a file."""
    return await cast(UploadFile, part).read()


async def _options(form: FormData) -> Any:
    """The JSON of the part `options`, an empty object where there is none."""
    part = form.get("options")
    text = await part.read(FORM_OVERHEAD + 1) if isinstance(part, UploadFile) else part
    return _parsed(text or "{}", "the part 'options'")


def _is_too_much(data: bytes) -> bool:
    return len(data) > FORM_OVERHEAD or _fields(data) > MAX_FIELDS


def _fields(data: bytes) -> int:
    """An upper bound of the values in the JSON."""
    return sum(map(data.count, (b",", b"[", b"{")))


def _parsed(text: bytes | str, what: str) -> Any:
    if len(text) > FORM_OVERHEAD:
        raise ServiceError(ErrorKind.TOO_MANY_BYTES, _TOO_MUCH_JSON)
    data = text.encode(errors="replace") if isinstance(text, str) else text
    if _fields(data) > MAX_FIELDS:
        raise ServiceError(
            ErrorKind.TOO_MANY_BOXES, f"{what} has more than {MAX_FIELDS} values: send the boxes in several requests"
        )
    try:
        # JSON may begin with a byte order mark, which a reader may ignore (RFC 8259, section 8.1)
        return orjson.loads(data.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise invalid(f"{what} is not JSON (which has no NaN or Infinity either)") from error


def _object(values: object, what: str) -> dict[str, object]:
    if not isinstance(values, dict):
        raise invalid(f"{what} must be a JSON object")
    return values
