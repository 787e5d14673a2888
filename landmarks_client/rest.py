"""The REST API: requests as httpx builds and httpcore sends them; JSON answers and problem documents as values."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import httpcore
import httpx

from landmarks_client.deadline import DeadlineBackend
from landmarks_client.errors import (
    DEADLINE_EXCEEDED,
    NO_ANSWER,
    NOT_UNDERSTOOD,
    ClientUsageError,
    NoAnswer,
    ServiceProblem,
)
from landmarks_client.results import Answer, AnswerWarning, Face, Model, ModelDescription, floats, single
from landmarks_client.wire import Attempt, ImagePart, Outcome, Target

T = TypeVar("T")

_DETECT: Final = "/v1/landmarks"
_DETECT_BATCH: Final = "/v1/landmarks/batch"
_MODELS: Final = "/v1/models"
_POOL: Final[dict[str, Any]] = {"max_connections": None, "max_keepalive_connections": 100, "keepalive_expiry": 5.0}
_BINARY: Final = "application/octet-stream"


class RestTransport:
    """Synchronous requests over a pool of connections that stay open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        context = _tls_context(target)
        self._pool = httpcore.ConnectionPool(context, network_backend=DeadlineBackend(), **_POOL)

    def detect(self, part: ImagePart, attempt: Attempt) -> Answer:
        return self._send(attempt, answer, "POST", _DETECT, **_image_body(part))

    def detect_batch(self, parts: Sequence[ImagePart], attempt: Attempt) -> list[Outcome]:
        return self._send(attempt, outcomes, "POST", _DETECT_BATCH, **_form_body(parts))

    def models(self, attempt: Attempt) -> list[ModelDescription]:
        return self._send(attempt, models, "GET", _MODELS)

    def close(self) -> None:
        self._pool.close()

    def _send(self, attempt: Attempt, parse: Callable[[Any], T], method: str, path: str, **body: Any) -> T:
        request = _build_request(self._target, attempt, method, path, **body)
        timeouts = dict.fromkeys(("connect", "read", "write"), time.monotonic() + attempt.timeout)
        with _network_errors(self._target, attempt):
            response = self._pool.request(**request, extensions={"timeout": timeouts})
        return _parse(self._target, attempt, response, parse)


class AsyncRestTransport:
    """The same, asynchronous."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool = httpcore.AsyncConnectionPool(_tls_context(target), **_POOL)

    async def detect(self, part: ImagePart, attempt: Attempt) -> Answer:
        return await self._send(attempt, answer, "POST", _DETECT, **_image_body(part))

    async def detect_batch(self, parts: Sequence[ImagePart], attempt: Attempt) -> list[Outcome]:
        return await self._send(attempt, outcomes, "POST", _DETECT_BATCH, **_form_body(parts))

    async def models(self, attempt: Attempt) -> list[ModelDescription]:
        return await self._send(attempt, models, "GET", _MODELS)

    async def close(self) -> None:
        await self._pool.aclose()

    async def _send(self, attempt: Attempt, parse: Callable[[Any], T], method: str, path: str, **body: Any) -> T:
        request = _build_request(self._target, attempt, method, path, **body)
        with _network_errors(self._target, attempt):
            response = await asyncio.wait_for(self._pool.request(**request), attempt.timeout)
        return _parse(self._target, attempt, response, parse)


def _tls_context(target: Target) -> ssl.SSLContext | None:
    if target.scheme != "https":
        return None
    tls = target.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (tls.ca, tls.certificate, tls.key) if path)
        raise ClientUsageError(f"the TLS files {files} cannot be used: {error}") from error
    return context


def _build_request(target: Target, attempt: Attempt, method: str, path: str, **body: Any) -> dict[str, Any]:
    """The arguments of `request` of an httpcore pool. Raises ClientUsageError for options that no URL can hold."""
    try:
        request = httpx.Request(method, target.url + path, **body)
    except (httpx.InvalidURL, ValueError) as error:
        raise ClientUsageError(f"the options cannot be sent: {error}") from error
    request.headers.update(target.headers)
    request.headers.update(
        {
            "User-Agent": "landmarks-client",
            "X-Request-ID": attempt.request_id,
            "X-Request-Timeout": f"{attempt.timeout:.3f}",
        }
    )
    url = request.url
    return {
        "method": method,
        "url": httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        "headers": request.headers.raw,
        "content": request.read(),
    }


def _image_body(part: ImagePart) -> dict[str, Any]:
    """One image as the body, its options in the query."""
    return {"content": part.image, "params": _query(part.options), "headers": {"Content-Type": _BINARY}}


def _query(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    boxes = [("box", ",".join(map(repr, box))) for box in options.get("boxes", ())]
    return boxes + [(name, _query_text(value)) for name, value in options.items() if name != "boxes"]


def _query_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def _form_body(parts: Sequence[ImagePart]) -> dict[str, Any]:
    """A form with a file for each image, and one list of their options."""
    images = [("image", (str(number), part.image, _BINARY)) for number, part in enumerate(parts)]
    return {"files": [*images, ("options", (None, json.dumps([part.options for part in parts])))]}


@contextmanager
def _network_errors(target: Target, attempt: Attempt) -> Iterator[None]:
    """Raises NoAnswer for every way in which the exchange with the server can fail."""
    try:
        yield
    except (httpcore.TimeoutException, asyncio.TimeoutError) as error:
        detail = f"no answer from {target.url} in time"
        raise NoAnswer(DEADLINE_EXCEEDED, detail, request_id=attempt.request_id) from error
    except httpcore.RemoteProtocolError as error:
        if "illegal" not in str(error):  # httpcore raises the same class when the server closes the connection early
            raise _connection_lost(target, attempt, error) from error
        detail = f"the server at {target.url} does not speak HTTP"
        raise NoAnswer(NOT_UNDERSTOOD, detail, request_id=attempt.request_id) from error
    except (httpcore.ReadError, httpcore.WriteError) as error:
        raise _connection_lost(target, attempt, error) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        detail = f"no answer from {target.url}: {_reason(error)}"
        raise NoAnswer(NO_ANSWER, detail, request_id=attempt.request_id) from error


def _connection_lost(target: Target, attempt: Attempt, error: Exception) -> NoAnswer:
    """The server was reached: a new connection may serve, and at once."""
    detail = f"no answer from {target.url}: {_reason(error)}"
    return NoAnswer(NO_ANSWER, detail, request_id=attempt.request_id, retry_after=0.0)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _parse(target: Target, attempt: Attempt, response: httpcore.Response, parse: Callable[[Any], T]) -> T:
    """The parsed body. Raises ServiceProblem, or NoAnswer for a body that the service would never send."""
    try:
        body = json.loads(response.content)
        if 200 <= response.status < 300:
            return parse(body)
        raise problem(body, _retry_after(response))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"the server at {target.url} is not the landmark service"
        raise NoAnswer(NOT_UNDERSTOOD, detail, request_id=attempt.request_id) from error


def _retry_after(response: httpcore.Response) -> float | None:
    value = {name.lower(): value for name, value in response.headers}.get(b"retry-after", b"")
    return float(value) if value.isdigit() else None


def problem(body: Mapping[str, Any], retry_after: float | None = None) -> ServiceProblem:
    return ServiceProblem(
        body["code"],
        body["detail"],
        title=body["title"],
        action=body["action"],
        request_id=body["request_id"],
        retry_after=retry_after,
    )


def answer(body: Mapping[str, Any]) -> Answer:
    return Answer(
        body["request_id"],
        Model(*(body["model"][name] for name in ("name", "version", "provenance"))),
        body["image"]["width"],
        body["image"]["height"],
        tuple(_face(face) for face in body["faces"]),
        body.get("timings_ms", {}),
        tuple(AnswerWarning(warning["code"], warning["message"]) for warning in body["warnings"]),
    )


def _face(body: Mapping[str, Any]) -> Face:
    return Face(
        box=floats(body["box"], 4),
        box_source=body["box_source"],
        box_score=None if body["box_score"] is None else single(body["box_score"]),
        score=single(body["score"]),
        inter_ocular=single(body["inter_ocular"]),
        points=floats(body.get("points", ()), -1, 2),
        scores=floats(body.get("scores", ()), -1),
        covariances=floats(body.get("covariances", ()), -1, 3),
        visibility=floats(body.get("visibility", ()), -1),
        passes=body.get("passes", 1),
    )


def outcomes(body: Mapping[str, Any]) -> list[Outcome]:
    return [answer(each["answer"]) if "answer" in each else problem(each["problem"]) for each in body["results"]]


def models(body: Mapping[str, Any]) -> list[ModelDescription]:
    return [_model(**each) for each in body["models"]]


def _model(*, decoders: Sequence[str], data: Sequence[str], **fields: Any) -> ModelDescription:
    known = {name: fields[name] for name in ModelDescription.__dataclass_fields__ if name not in ("decoders", "data")}
    return ModelDescription(**known, decoders=tuple(decoders), data=tuple(data))
