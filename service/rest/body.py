"""The body of an HTTP request, of which at most a limited number of bytes is kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import ClientDisconnect, Request

from service.errors import ErrorKind, ServiceError
from service.request import invalid


async def read_body(request: Request, limit: int) -> bytes:
    """Raises as `bounded_body` does."""
    return b"".join([chunk async for chunk in bounded_body(request, limit)])


async def bounded_body(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The chunks of the body. Raises ServiceError of kind TOO_MANY_BYTES for a body of more than `limit` bytes."""
    stream = request.stream()
    announced = request.headers.get("content-length", "")
    size = int(announced.lstrip("0")[:20] or 0) if announced.isdecimal() else 0
    try:
        if size <= limit:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    break
                yield chunk
        if size > limit:
            raise ServiceError(ErrorKind.TOO_MANY_BYTES, f"the body has more than {limit} bytes; compress or shrink")
    except ClientDisconnect as error:
        raise invalid("the connection ended before all of the body had arrived") from error
