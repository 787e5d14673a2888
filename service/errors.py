"""The closed set of kinds of failure of a request. Both APIs have a table of them: `wire.problem`, `rpc.errors`.

::

    ServiceError(kind)                           EngineError (service.engines.port)
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

from service.engines.port import EngineError, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.limits import IMAGE_FORMATS_TEXT


class ErrorKind(Enum):
    """The value is the stable code that clients see, `title` describes the kind, `action` says what a client can do."""

    _value_: str
    title: str
    action: str

    def __new__(cls, code: str, title: str, action: str) -> ErrorKind:
        kind = object.__new__(cls)
        kind._value_, kind.title, kind.action = code, title, action
        return kind

    # the request
    INVALID_REQUEST = "invalid_request", "The request cannot be read", "Correct what the detail names."
    INVALID_BOX = "invalid_box", "A box is not usable", "Give four finite numbers x1 < x2, y1 < y2 in the image."
    TOO_MANY_BOXES = "too_many_boxes", "More boxes than are answered at once", "Send the boxes in several requests."
    TOO_MANY_IMAGES = "too_many_images", "More images than are answered in one call", "Send them in several calls."
    UNKNOWN_MODEL = "unknown_model", "No such model is served", "Take a name from GET /v1/models or ListModels."
    CLIENT_TOO_SLOW = (
        "client_too_slow",
        "The request's body arrives too slowly",
        "Send it again over a faster connection, or a smaller image.",
    )
    HEADERS_TOO_LARGE = "headers_too_large", "The headers are too large", "Send fewer and shorter header lines."
    # the image
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type",
        "The body is declared as something else than an image, a form or JSON",
        "Declare what the body is in Content-Type.",
    )
    NOT_AN_IMAGE = (
        "not_an_image",
        "The bytes are no image of a known format",
        f"Send {IMAGE_FORMATS_TEXT}.",
    )
    DAMAGED_IMAGE = "damaged_image", "The image is truncated or corrupt", "Check that it opens, and send all of it."
    UNSUPPORTED_IMAGE = (
        "unsupported_image",
        "The image file is of a kind that is not read",
        "Save it as a JPEG or PNG file with 8 bits per channel.",
    )
    TOO_MANY_BYTES = "too_many_bytes", "The file has too many bytes", "Compress or shrink the image."
    TOO_MANY_PIXELS = "too_many_pixels", "The image has too many pixels", "Shrink the image."
    SIDE_TOO_LONG = "side_too_long", "The image is too long or too wide", "Shrink or cut the image."
    # the client, and the address
    UNAUTHENTICATED = (
        "unauthenticated",
        "No valid API key came with the request",
        "Send your key as Authorization: Bearer or as X-API-Key.",
    )
    FORBIDDEN = (
        "forbidden",
        "The host name or the web page that sends the request is not allowed",
        "Use an address, or have the host or origin allowed: LANDMARKS_ALLOWED_HOSTS, LANDMARKS_CORS_ORIGINS.",
    )
    NOT_FOUND = "not_found", "There is nothing at this address", "See /docs for the addresses."
    METHOD_NOT_ALLOWED = "method_not_allowed", "This address answers other methods", "See /docs for the methods."
    # the service
    OVERLOADED = "overloaded", "Too many requests are in flight", "Try again after the time given."
    DEADLINE_EXCEEDED = "deadline_exceeded", "The deadline passed first", "Allow more time, or send a smaller image."
    UNAVAILABLE = "unavailable", "The network does not answer correctly now", "Try again after the time given."
    INTERNAL = "internal", "A fault of the service", "Report the request id: the log has the cause under it."


RETRY_AFTER_SECONDS: Final[Mapping[ErrorKind, int]] = {ErrorKind.OVERLOADED: 1, ErrorKind.UNAVAILABLE: 1}
"""Seconds after which a client may try again, for the kinds of failure that may be over by then."""


class ServiceError(Exception):
    """A failure as a client sees it. `message` says what to do and holds nothing internal."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class StartError(Exception):
    """The service cannot start, or cannot continue. The message says why and what to do."""


_INTERNAL: Final = (
    ErrorKind.INTERNAL,
    "the service failed on this request; report the request id: the log has the cause under it",
)
_DEADLINE_EXCEEDED: Final = (
    ErrorKind.DEADLINE_EXCEEDED,
    "the request took longer than its deadline; allow more time, or send a smaller image",
)

BY_EXCEPTION: Final[Mapping[type[BaseException], tuple[ErrorKind, str]]] = {
    EngineUnavailable: (ErrorKind.UNAVAILABLE, "the network is not reachable now; try again shortly"),
    EngineTimeout: _DEADLINE_EXCEEDED,
    EngineOverloaded: (ErrorKind.OVERLOADED, "the network's queue is full; try again after a moment"),
    EngineFailure: _INTERNAL,
    EngineError: _INTERNAL,
    asyncio.TimeoutError: _DEADLINE_EXCEEDED,
}
"""Kind and message for the exceptions of other modules. Any that is not listed is an internal error."""


def translate(error: Exception) -> ServiceError:
    """The ServiceError for any exception, by the first of its classes that BY_EXCEPTION lists."""
    if isinstance(error, ServiceError):
        return error
    listed = (BY_EXCEPTION[cls] for cls in type(error).__mro__ if cls in BY_EXCEPTION)
    return ServiceError(*next(listed, _INTERNAL))
