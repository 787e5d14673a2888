"""The REST door: requests as httpx takes them, answers and problem documents (RFC 9457) as values."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from landmarks_client.deadline import DeadlineTransport
from landmarks_client.errors import DEADLINE_EXCEEDED, NO_ANSWER, NOT_UNDERSTOOD, NoAnswer, ServiceProblem
from landmarks_client.results import Answer, AnswerWarning, Face, Model, ModelDescription, floats, single
from landmarks_client.wire import Access, Call, ClientUsageError, Outcome, Part

T = TypeVar("T")

_BATCH = "/v1/landmarks/batch"
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)


class RestTransport:
    """A pool of connections that stay open."""

    def __init__(self, access: Access) -> None:
        self._url = access.url
        self._http = httpx.Client(**_settings(access), transport=DeadlineTransport(_context(access), _LIMITS))

    def detect(self, part: Part, call: Call) -> Answer:
        return self._send(call, answer, "POST", "/v1/landmarks", **_raw(part))

    def detect_batch(self, parts: Sequence[Part], call: Call) -> list[Outcome]:
        return self._send(call, outcomes, "POST", _BATCH, files=_form(parts))

    def models(self, call: Call) -> list[ModelDescription]:
        return self._send(call, models, "GET", "/v1/models")

    def close(self) -> None:
        self._http.close()

    def _send(self, call: Call, read: Callable[[Any], T], method: str, path: str, **request: Any) -> T:
        built = _built(self._http, call, method, path, timeout=time.monotonic() + call.timeout, **request)
        with _told(self._url, call):
            response = self._http.send(built)
        return _understood(self._url, call, response, read)


class AsyncRestTransport:
    """The same for code that awaits."""

    def __init__(self, access: Access) -> None:
        self._url = access.url
        self._http = httpx.AsyncClient(**_settings(access), verify=_context(access) or False, limits=_LIMITS)

    async def detect(self, part: Part, call: Call) -> Answer:
        return await self._send(call, answer, "POST", "/v1/landmarks", **_raw(part))

    async def detect_batch(self, parts: Sequence[Part], call: Call) -> list[Outcome]:
        return await self._send(call, outcomes, "POST", _BATCH, files=_form(parts))

    async def models(self, call: Call) -> list[ModelDescription]:
        return await self._send(call, models, "GET", "/v1/models")

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(self, call: Call, read: Callable[[Any], T], method: str, path: str, **request: Any) -> T:
        built = _built(self._http, call, method, path, timeout=None, **request)
        with _told(self._url, call):
            response = await asyncio.wait_for(self._http.send(built), call.timeout)
        return _understood(self._url, call, response, read)


def _settings(access: Access) -> dict[str, Any]:
    # a proxy of the environment is not asked for a service that is named by its address
    return {"base_url": access.url, "headers": access.headers, "trust_env": False}


def _context(access: Access) -> ssl.SSLContext | None:
    if access.scheme != "https":
        return None
    tls = access.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (tls.ca, tls.certificate, tls.key) if path)
        raise ClientUsageError(f"the TLS files {files} cannot be used: {error}") from error
    return context


def _built(http: httpx.Client | httpx.AsyncClient, call: Call, method: str, path: str, **request: Any) -> httpx.Request:
    """Raises ClientUsageError for options that no address can hold."""
    try:
        built = http.build_request(method, path, **request)
    except (httpx.InvalidURL, ValueError) as error:
        raise ClientUsageError(f"the options cannot be sent: {error}") from error
    built.headers.update({"X-Request-ID": call.request_id, "X-Request-Timeout": f"{call.timeout:.3f}"})
    return built


def _raw(part: Part) -> dict[str, Any]:
    """One image as it is, its options in the query."""
    headers = {"Content-Type": "application/octet-stream"}
    return {"content": part.image, "params": _query(part.options), "headers": headers}


def _query(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    boxes = [("box", ",".join(map(repr, box))) for box in options.get("boxes", ())]
    return boxes + [(name, _text(value)) for name, value in options.items() if name != "boxes"]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def _form(parts: Sequence[Part]) -> list[tuple[str, Any]]:
    """Each image as a file, and a list of their options."""
    images = [("image", (str(number), part.image, "application/octet-stream")) for number, part in enumerate(parts)]
    return [*images, ("options", (None, json.dumps([part.options for part in parts])))]


@contextmanager
def _told(url: str, call: Call) -> Iterator[None]:
    """Raises NoAnswer for what goes wrong on the way."""
    try:
        yield
    except (httpx.TimeoutException, asyncio.TimeoutError) as error:
        raise NoAnswer(DEADLINE_EXCEEDED, f"no answer from {url} in time", request_id=call.request_id) from error
    except httpx.RemoteProtocolError as error:
        if "illegal" not in str(error):  # a connection that was lost, which httpx calls by the same name
            raise _lost(url, call, error) from error
        detail = f"what answers at {url} does not speak HTTP"
        raise NoAnswer(NOT_UNDERSTOOD, detail, request_id=call.request_id) from error
    except (httpx.ReadError, httpx.WriteError) as error:
        raise _lost(url, call, error) from error
    except httpx.HTTPError as error:
        raise NoAnswer(NO_ANSWER, f"no answer from {url}: {_why(error)}", request_id=call.request_id) from error


def _lost(url: str, call: Call, error: Exception) -> NoAnswer:
    """The connection was there: another may serve, and at once."""
    return NoAnswer(NO_ANSWER, f"no answer from {url}: {_why(error)}", request_id=call.request_id, retry_after=0.0)


def _understood(url: str, call: Call, response: httpx.Response, read: Callable[[Any], T]) -> T:
    """What `read` makes of the body. Raises ServiceProblem, or NoAnswer for what the service would never say."""
    try:
        return read(_body(response))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"what answers at {url} is not the landmark service"
        raise NoAnswer(NOT_UNDERSTOOD, detail, request_id=call.request_id) from error


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _body(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises ServiceProblem for a problem document, and ValueError for anything else."""
    if response.is_success:
        return json.loads(response.content)
    raise problem(json.loads(response.content), _seconds(response.headers.get("retry-after")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None


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
    )


def outcomes(body: Mapping[str, Any]) -> list[Outcome]:
    return [answer(each["answer"]) if "answer" in each else problem(each["problem"]) for each in body["results"]]


def models(body: Mapping[str, Any]) -> list[ModelDescription]:
    return [_model(**each) for each in body["models"]]


def _model(*, decoders: Sequence[str], data: Sequence[str], **fields: Any) -> ModelDescription:
    known = {name: fields[name] for name in ModelDescription.__dataclass_fields__ if name not in ("decoders", "data")}
    return ModelDescription(**known, decoders=tuple(decoders), data=tuple(data))
