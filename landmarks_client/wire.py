"""What both wires share: the options of a request, and how the service is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, TypedDict

import httpx
import numpy as np

from landmarks_client.errors import ServiceProblem
from landmarks_client.results import Answer, ModelDescription

Image: TypeAlias = "bytes | str | Path"
"""An image file: JPEG, PNG, WebP, BMP or TIFF; its bytes, or where it lies."""
Outcome: TypeAlias = "Answer | ServiceProblem"

_SCHEMES: Final = ("http", "https", "grpc", "grpcs")
_HEADER: Final = re.compile("[!-~]+")


class Options(TypedDict, total=False):
    """What a request may choose. Every option may be left out."""

    boxes: Sequence[Sequence[float]]
    """x1, y1, x2, y2 of each face in pixels. None given: the faces are detected."""
    max_faces: int
    """Of the faces detected, the largest so many."""
    detector_threshold: float
    """Least score in [0, 1] of a detected face; it can only raise the detector's own."""
    model: str
    """Name of the model that must answer, one of `models()`."""
    decoder: str
    """How a point is read from its heatmap: one of `ModelDescription.decoders`; unset, "topk"."""
    topk: int
    """Cells averaged for a point; unset: as the model was validated."""
    flip: bool
    """Average with the mirrored crop: better by a little, at twice the cost."""
    omit: Sequence[str]
    """Of "points", "scores", "covariances" and "timings_ms": left out of the answer."""


class ClientUsageError(ValueError):
    """The client was called with what no service could make sense of."""


@dataclass(frozen=True)
class Tls:
    """Whom to trust, and who we are. PEM files."""

    ca: Path | None = None
    """Certificates of the authorities that the service's own must come from; None: the system's."""
    certificate: Path | None = None
    """The client's own, where the service asks for one."""
    key: Path | None = None
    """The private key of `certificate`."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ClientUsageError("a client certificate and its key go together: give both, or neither")


@dataclass(frozen=True)
class Access:
    """Where the service is, and by what right it is asked."""

    scheme: str
    """http, https, grpc or grpcs."""
    host: str
    """host:port, and for http a path in front of the service's own."""
    api_key: str | None = None
    tls: Tls = Tls()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """HTTP headers, or gRPC metadata: their names are lower case in both."""
        return [] if self.api_key is None else [("authorization", f"Bearer {self.api_key}")]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


def access(url: str, api_key: str | None, tls: Tls | None) -> Access:
    """Raises ClientUsageError for what is no address with http, https, grpc or grpcs, or a key that cannot be sent."""
    scheme, _, host = url.rstrip("/").partition("://")
    if scheme not in _SCHEMES or not _names_a_host(url):
        raise ClientUsageError(f"{url!r} is no address: give http://host:port, https://, grpc:// or grpcs://")
    if tls is not None and scheme in ("http", "grpc"):
        raise ClientUsageError(f"{url} is without TLS: give {scheme}s://{host}, or no TLS options")
    return Access(scheme, host, None if api_key is None else header("the API key", api_key), tls or Tls())


def _names_a_host(url: str) -> bool:
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return False
    return bool(parts.host) and (parts.port is None or 0 < parts.port < 65536)


def header(what: str, text: str) -> str:
    """`text`, which a header carries. Raises ClientUsageError, without repeating it, for one that cannot be carried."""
    if not _HEADER.fullmatch(text):
        raise ClientUsageError(f"{what} cannot be sent: give plain characters without spaces, line breaks or accents")
    return text


def plain(options: Options) -> dict[str, Any]:
    """The options that are given, neither None nor empty, in Python's own types: NumPy's may be given too.

    Raises ClientUsageError for options of a wrong type.
    """
    try:
        given = {name: _plain(name, value) for name, value in options.items() if value is not None}
    except (TypeError, ValueError) as error:
        raise ClientUsageError(f"the options cannot be sent: {error}") from error
    return {name: value for name, value in given.items() if value != []}


def _plain(name: str, value: Any) -> Any:
    if name == "boxes":
        return [[float(x1), float(y1), float(x2), float(y2)] for x1, y1, x2, y2 in value]
    if name == "omit":
        return [str(field) for field in value]
    scalar = value.item() if isinstance(value, np.generic) else value
    if not isinstance(scalar, (bool, int, float, str)):
        raise TypeError(f"{name} must be a number, a text or a truth value, not {type(value).__name__}")
    return scalar


@dataclass(frozen=True)
class Call:
    """One attempt: its id, and the seconds left for it."""

    request_id: str
    timeout: float


@dataclass(frozen=True)
class Part:
    """One image of a batch."""

    image: bytes
    options: Mapping[str, Any]
    """As `plain` gives them."""


class Transport(Protocol):
    """One door of the service. Every method raises ServiceProblem or NoAnswer."""

    def detect(self, part: Part, call: Call) -> Answer: ...
    def detect_batch(self, parts: Sequence[Part], call: Call) -> list[Outcome]: ...
    def models(self, call: Call) -> list[ModelDescription]: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for code that awaits."""

    async def detect(self, part: Part, call: Call) -> Answer: ...
    async def detect_batch(self, parts: Sequence[Part], call: Call) -> list[Outcome]: ...
    async def models(self, call: Call) -> list[ModelDescription]: ...
    async def close(self) -> None: ...
