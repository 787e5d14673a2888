"""How an answer is written: JSON, or msgpack where a client's Accept header prefers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import ormsgpack

from service.wire.json import to_json

JSON: Final = "application/json"
MSGPACK: Final = ("application/msgpack", "application/vnd.msgpack", "application/x-msgpack")
"""The name in common use, the one registered with IANA, and the former one."""


def to_msgpack(body: Mapping[str, Any]) -> bytes:
    """float32 numbers are written as such."""
    return ormsgpack.packb(body, option=ormsgpack.OPT_SERIALIZE_NUMPY)


WRITERS: Final[Mapping[str, Callable[[Mapping[str, Any]], bytes]]] = {
    JSON: to_json,
    **dict.fromkeys(MSGPACK, to_msgpack),
}


def media_type(accept: str) -> str:
    """The media type of WRITERS that an Accept header prefers; JSON where it names none of them or prefers none."""
    accept = accept.lower()
    if "msgpack" not in accept:  # nearly every request
        return JSON
    ranges = dict(_range(part) for part in accept.split(","))
    return max(WRITERS, key=lambda name: ranges.get(name, ranges.get("application/*", ranges.get("*/*", 0.0))))


def _range(part: str) -> tuple[str, float]:
    """One media range of an Accept header and its quality, 0 where that is not a number."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 0.0
