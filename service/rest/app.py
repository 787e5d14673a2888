"""The REST API: its routes, and failures as problem documents. What a request means is in `service.pipeline`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from service.answer import count_faces
from service.deadline import Deadline
from service.errors import ErrorKind, ServiceError, translate
from service.gateway import Gateway
from service.observability.request_scope import stage
from service.page.page import page_router
from service.rest.errors import error_response
from service.rest.health import health_router
from service.rest.middleware import add_middleware, is_public
from service.rest.negotiation import JSON, WRITERS, media_type
from service.rest.read import read_batch, read_request
from service.rest.schema import (
    AnswerModel,
    BatchModel,
    LayoutModel,
    ModelsModel,
    answer_response,
    batch_operation,
    error_responses,
    landmarks_operation,
)
from service.security.api_keys import Protection
from service.stages import with_faces
from service.wire.json import answer_body, batch_body, layout_body, models_body, to_json
from service.wire.text import plain_number

T = TypeVar("T")

_FRAMEWORK: Final = {
    404: (ErrorKind.NOT_FOUND, "this path does not exist; see /docs"),
    405: (ErrorKind.METHOD_NOT_ALLOWED, "this path answers other methods; see /docs"),
}


def build_app(gateway: Gateway, protection: Protection | None = None, root_path: str = "") -> ASGIApp:
    """The ASGI application that serves `gateway`. `root_path`: what a proxy may put before the paths of requests."""
    protection = protection or Protection()
    return add_middleware(_make_app(gateway, protection, root_path), gateway, protection, root_path)


def build_metrics_app(gateway: Gateway) -> ASGIApp:
    """The ASGI application of the metrics' own port: health and metrics, without keys."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    _add_error_handlers(app)
    app.include_router(health_router(gateway, with_metrics=True))
    return add_middleware(app, gateway, Protection())


def _make_app(gateway: Gateway, protection: Protection, root_path: str) -> FastAPI:
    app: FastAPI = FastAPIOffline(
        title="Face landmarks",
        description=_DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": root_path}] if root_path else None,
    )
    _add_docs(app)
    _add_error_handlers(app)
    _add_landmarks(app, gateway)
    app.include_router(health_router(gateway, with_metrics=protection.metrics_here))
    app.include_router(page_router())
    if protection.keys:
        _describe_keys(app)
    return app


def _add_docs(app: FastAPI) -> None:
    """/docs, which loads nothing from another host. Its links are relative, so that it works behind any proxy."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            title=app.title,
            openapi_url="openapi.json",
            swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
            swagger_css_url="static-offline-docs/swagger-ui.css",
            swagger_favicon_url="page/icon.svg",
        )


def _add_error_handlers(app: FastAPI) -> None:
    """Every failure becomes a problem document."""

    @app.exception_handler(ServiceError)
    async def failed(request: Request, error: ServiceError) -> Response:
        return error_response(error, _id(request))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        kind, message = _FRAMEWORK.get(error.status_code, (ErrorKind.INVALID_REQUEST, "the request cannot be read"))
        methods = set((error.headers or {}).get("Allow", "").replace(",", " ").split())
        if "GET" in methods:
            methods.add("HEAD")  # the middleware answers it
        allow = {"Allow": ", ".join(sorted(methods))} if methods else None
        return error_response(ServiceError(kind, message), _id(request), allow)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return error_response(translate(error), _id(request))


def _add_landmarks(app: FastAPI, gateway: Gateway) -> None:
    @app.post(
        "/v1/landmarks",
        response_model=None,
        summary="The points of every face in one image",
        responses={200: answer_response(AnswerModel), **error_responses(*_LANDMARKS_ERRORS)},
        openapi_extra=dict(landmarks_operation()),
    )
    async def landmarks(request: Request) -> Response:
        identity = _id(request)
        with gateway.observed("rest", identity, request.headers):
            gateway.refuse_if_full("rest")
            deadline = _deadline(gateway, request)
            image, options = await _received(request, partial(read_request, request, gateway.max_bytes), deadline)
            with gateway.slot("rest"):
                answer = await gateway.detect(image, options, deadline)
                with stage("encode"):
                    return await with_faces(
                        len(answer.faces), lambda: _response(request, answer_body(answer, identity))
                    )

    @app.post(
        "/v1/landmarks/batch",
        response_model=None,
        summary="Several images in one call, each with its own answer or problem",
        responses={200: answer_response(BatchModel), **error_responses(*_BATCH_ERRORS)},
        openapi_extra=dict(batch_operation()),
    )
    async def batch(request: Request) -> Response:
        identity = _id(request)
        with gateway.observed("rest", identity, request.headers):
            gateway.refuse_if_full("rest")
            deadline = _deadline(gateway, request)
            requests = await _received(
                request, partial(read_batch, request, gateway.max_batch_bytes, gateway.max_images), deadline
            )
            with gateway.slot("rest"):
                outcomes = await gateway.detect_batch(requests, identity, deadline)
                with stage("encode"):
                    return await with_faces(
                        count_faces(outcomes), lambda: _response(request, batch_body(outcomes, identity))
                    )

    @app.get(
        "/v1/models",
        response_model=None,
        summary="The models served",
        responses={200: {"model": ModelsModel}, **error_responses(ErrorKind.UNAUTHENTICATED)},
    )
    async def models() -> Response:
        return Response(to_json(models_body(gateway.models)), media_type=JSON)

    @app.get("/v1/layout", response_model=None, responses={200: {"model": LayoutModel}}, summary="The points' names")
    async def layout_route() -> Response:
        return Response(to_json(layout_body(gateway.models[0].metadata.layout)), media_type=JSON)


def _describe_keys(app: FastAPI) -> None:
    """Adds API keys to the OpenAPI description, so that /docs has a field for one."""
    described = app.openapi()
    described["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, operations in described["paths"].items():
        if not is_public(path):
            for operation in operations.values():
                operation["security"] = [{"bearer": []}, {"header": []}]


def _deadline(gateway: Gateway, request: Request) -> Deadline:
    timeout = request.headers.get("x-request-timeout")
    return gateway.deadline(None if timeout is None else _seconds(timeout))


async def _received(request: Request, read: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
    """What was read of a request. Raises ServiceError of kind CLIENT_TOO_SLOW for a body that takes too long."""
    with stage("read"):
        try:
            seconds = deadline.remaining()  # first: what was called and is not awaited would write to the log
            return await asyncio.wait_for(read(), seconds)
        except asyncio.TimeoutError as error:
            if "x-request-timeout" in request.headers:
                raise  # the client's own deadline
            raise ServiceError(ErrorKind.CLIENT_TOO_SLOW, "the body did not arrive before the deadline") from error


def _seconds(text: str) -> float:
    """The value of the header X-Request-Timeout. Raises ServiceError of kind INVALID_REQUEST."""
    try:
        seconds = plain_number(float, text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ServiceError(
            ErrorKind.INVALID_REQUEST, "X-Request-Timeout, the timeout, must be a positive number of seconds"
        )
    return seconds


def _response(request: Request, body: Mapping[str, Any]) -> Response:
    """The answer, written as the client's Accept header prefers."""
    kind = media_type(request.headers.get("accept", ""))
    # a cache must not give the one form to clients that asked for the other
    return Response(WRITERS[kind](body), 200, {"X-Request-ID": _id(request), "Vary": "Accept"}, kind)


def _id(request: Request) -> str:
    """The request's id, as `service.rest.middleware` gave it."""
    identity: str = request.state.id
    return identity


_LANDMARKS_ERRORS: Final = tuple(
    kind
    for kind in ErrorKind
    if kind not in (ErrorKind.NOT_FOUND, ErrorKind.METHOD_NOT_ALLOWED, ErrorKind.TOO_MANY_IMAGES)
)
_BATCH_ERRORS: Final = (
    ErrorKind.INVALID_REQUEST,
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN,
    ErrorKind.TOO_MANY_IMAGES,
    ErrorKind.TOO_MANY_BOXES,
    ErrorKind.CLIENT_TOO_SLOW,
    ErrorKind.HEADERS_TOO_LARGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.TOO_MANY_BYTES,
    ErrorKind.OVERLOADED,
    ErrorKind.DEADLINE_EXCEEDED,
    ErrorKind.INTERNAL,
)
"""Of the whole call. A problem with one of its images is that image's result."""
_DESCRIPTION: Final = (
    "Sub-pixel landmarks of every face, each with its score and covariance: the 98 points of the WFLW layout, or those "
    "of the model served (GET /v1/layout names them). Pixels: (0, 0) is the centre of the top-left pixel, and the "
    "image is taken as shown, after its EXIF orientation.\n\n"
    "    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' ADDRESS/v1/landmarks\n\n"
    "where ADDRESS is the address of this page without /docs."
)
