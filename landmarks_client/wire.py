"""What both transports share: the target of a client, the images and options it sends, and their interfaces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import httpx
import numpy as np

from landmarks_client.errors import ClientUsageError, ServiceProblem
from landmarks_client.options import Options
from landmarks_client.results import Answer, ModelDescription

Image: TypeAlias = "bytes | str | Path"
"""An image file (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC): its bytes or its path."""
Outcome: TypeAlias = "Answer | ServiceProblem"

_SCHEMES: Final = ("http", "https", "grpc", "grpcs")
_URL: Final = re.compile("https?://", re.IGNORECASE)
_METHOD: Final = re.compile("/v1/[a-z]")
_HEADER: Final = re.compile("[!-~]+")


@dataclass(frozen=True)
class Tls:
    """The trusted authorities, and the certificate of the client. All are PEM files."""

    ca: Path | None = None
    """Certificates of the authorities that may sign the service's certificate; None: those of the system."""
    certificate: Path | None = None
    """The client's certificate, for a service that requires one."""
    key: Path | None = None
    """The private key of `certificate`."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ClientUsageError("a client certificate and its key go together: give both, or neither")


@dataclass(frozen=True)
class Target:
    """The service that a client sends its requests to, and the client's credentials."""

    scheme: str
    """http, https, grpc or grpcs."""
    host: str
    """host:port; with http and https also the path that precedes the service's own paths."""
    api_key: str | None = None
    tls: Tls = Tls()

    @property
    def is_grpc(self) -> bool:
        return self.scheme in ("grpc", "grpcs")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """HTTP headers or gRPC metadata; the names are lower case, as gRPC demands."""
        return [] if self.api_key is None else [("authorization", f"Bearer {self.api_key}")]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


def parse_target(url: str, api_key: str | None, tls: Tls | None) -> Target:
    """Raises ClientUsageError for an invalid address, a key that no header can carry, or TLS files without TLS."""
    scheme, _, host = url.rstrip("/").partition("://")
    scheme = scheme.lower()
    if scheme not in _SCHEMES or not _has_valid_host(url):
        raise ClientUsageError(f"{url!r} is no address: give http://host:port, https://, grpc:// or grpcs://")
    if method := _METHOD.search(host):
        raise ClientUsageError(
            f"{url!r} names a method: give the service's address, {scheme}://{host[: method.start()]}"
        )
    if tls is not None and scheme in ("http", "grpc"):
        raise ClientUsageError(f"{url} is without TLS: give {scheme}s://{host}, or no TLS options")
    return Target(scheme, host, None if api_key is None else checked_header("the API key", api_key), tls or Tls())


def image_bytes(image: object, what: str) -> bytes:
    """The bytes of an image file that is given as an Image. `what`: begins the message about anything else.

    Raises ClientUsageError, and OSError where the file cannot be read.
    """
    if isinstance(image, str) and _URL.match(image):
        raise ClientUsageError(f"{what}, not a URL: download it first, and give its bytes")
    content = Path(image).read_bytes() if isinstance(image, (str, Path)) else image
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise ClientUsageError(f"{what}, not {type(image).__name__}")
    return bytes(content)


def _has_valid_host(url: str) -> bool:
    """Whether the URL is a host with an optional port and path, and nothing that a request would lose."""
    try:
        parts = httpx.URL(url)
        parts.host.encode("idna")
    except (httpx.InvalidURL, ValueError):
        return False
    extra = parts.userinfo or parts.query or parts.fragment
    return bool(parts.host) and (parts.port is None or 0 < parts.port < 65536) and not extra


def checked_header(what: str, text: str) -> str:
    """`text` itself. Raises ClientUsageError, whose message does not repeat it, if no header can carry it."""
    if not _HEADER.fullmatch(text):
        raise ClientUsageError(f"{what} cannot be sent: give printable ASCII characters without spaces")
    return text


def normalized_options(options: Options) -> dict[str, Any]:
    """The options that are neither None nor empty, as Python's own types instead of NumPy's.

    Raises ClientUsageError for options of a wrong type.
    """
    try:
        given = {name: _normalized(name, value) for name, value in options.items() if value is not None}
    except (TypeError, ValueError) as error:
        raise ClientUsageError(f"the options cannot be sent: {error}") from error
    return {name: value for name, value in given.items() if value != []}


def _normalized(name: str, value: Any) -> Any:
    if name == "boxes":
        try:
            return [[float(x1), float(y1), float(x2), float(y2)] for x1, y1, x2, y2 in value]
        except (TypeError, ValueError) as error:
            raise TypeError("boxes must be a list of boxes, each of four numbers x1, y1, x2, y2") from error
    if name == "omit":
        return [str(field) for field in value]
    scalar = value.item() if isinstance(value, np.generic) else value
    if not isinstance(scalar, (bool, int, float, str)):
        raise TypeError(f"{name} must be a number, a text or a truth value, not {type(value).__name__}")
    return scalar


@dataclass(frozen=True)
class Attempt:
    """One attempt at a request: its id, and the seconds that remain for it."""

    request_id: str
    timeout: float


@dataclass(frozen=True)
class ImagePart:
    """One image of a request with its options."""

    image: bytes
    options: Mapping[str, Any]
    """As `normalized_options` returns them."""


class Transport(Protocol):
    """One API of the service, called synchronously. Every method raises ServiceProblem or NoAnswer."""

    def detect(self, part: ImagePart, attempt: Attempt) -> Answer: ...
    def detect_batch(self, parts: Sequence[ImagePart], attempt: Attempt) -> list[Outcome]: ...
    def models(self, attempt: Attempt) -> list[ModelDescription]: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same, asynchronous."""

    async def detect(self, part: ImagePart, attempt: Attempt) -> Answer: ...
    async def detect_batch(self, parts: Sequence[ImagePart], attempt: Attempt) -> list[Outcome]: ...
    async def models(self, attempt: Attempt) -> list[ModelDescription]: ...
    async def close(self) -> None: ...
