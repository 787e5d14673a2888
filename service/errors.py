"""The closed set of ways a request can fail. Each door has one table for all (`rest.errors`, `rpc.errors`).

::

    ServiceError(kind)                           EngineError (service.inference)
      invalid_request, invalid_box, ...            EngineUnavailable  -> unavailable
                                                   EngineTimeout      -> deadline_exceeded
                                                   EngineOverloaded   -> overloaded
                                                   EngineFailure      -> internal
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import Final

from service.inference import EngineError, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable

RETRY_AFTER_SECONDS: Final = 1
"""What an overloaded service asks a client to wait."""


class ErrorKind(Enum):
    """The value is the stable code that clients see."""

    INVALID_REQUEST = "invalid_request"
    """The request cannot be read, or names an option that does not exist or a value that is not allowed."""
    INVALID_BOX = "invalid_box"
    """A box is not four finite numbers, is inverted or empty, or lies outside the image."""
    TOO_MANY_BOXES = "too_many_boxes"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    """The request says that its body is something other than an image, a form or JSON."""
    NOT_AN_IMAGE = "not_an_image"
    """The bytes are not of a format that is read here."""
    DAMAGED_IMAGE = "damaged_image"
    """The bytes start like an image and are truncated or corrupt."""
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    OVERLOADED = "overloaded"
    """Too many requests in flight; the answer says when to try again."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    UNAVAILABLE = "unavailable"
    """The network cannot be reached, or does not answer correctly yet."""
    INTERNAL = "internal"
    """A fault of the service; the log has it under the request's id."""


class ServiceError(Exception):
    """A failure that a client is told about: `message` says what to do and holds nothing internal."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


_INTERNAL: Final = (
    ErrorKind.INTERNAL,
    "the service failed on this request; its log has the cause under the request id",
)

FOREIGN: Final[Mapping[type[BaseException], tuple[ErrorKind, str]]] = {
    EngineUnavailable: (ErrorKind.UNAVAILABLE, "the network is not reachable now; try again shortly"),
    EngineTimeout: (ErrorKind.DEADLINE_EXCEEDED, "the request took longer than its deadline; allow more time"),
    EngineOverloaded: (ErrorKind.OVERLOADED, "the network's queue is full; try again after a moment"),
    EngineFailure: _INTERNAL,
    EngineError: _INTERNAL,
    asyncio.TimeoutError: (ErrorKind.DEADLINE_EXCEEDED, "the request took longer than its deadline; allow more time"),
}
"""What exceptions of other modules mean to a client. Anything that is not here is an internal error."""


def translate(error: Exception) -> ServiceError:
    """The ServiceError that a client gets for `error`, found through the classes it derives from."""
    if isinstance(error, ServiceError):
        return error
    known = (FOREIGN[cls] for cls in type(error).__mro__ if cls in FOREIGN)
    return ServiceError(*next(known, _INTERNAL))
