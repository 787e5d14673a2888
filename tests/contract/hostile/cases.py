"""The kinds of cases in the corpus."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BOX = (20.0, 30.0, 200.0, 210.0)
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class ImageCase:
    """An image and options, for both APIs."""

    name: str
    image: bytes
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Http:
    """A request that an HTTP client can send."""

    name: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""
    path: str = "/v1/landmarks"
    method: str = "POST"


@dataclass(frozen=True)
class Wire:
    """Bytes on a connection to the REST port, which is then closed for writing."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Message:
    """Bytes as a gRPC message, with metadata."""

    name: str
    data: bytes
    method: str = "Detect"
    metadata: tuple[tuple[str, str | bytes], ...] = ()


Case = ImageCase | Http | Wire | Message
