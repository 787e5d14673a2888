"""The REST door: routes, and the translation of failures. What a request means is in `service.pipeline`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ErrorKind, ServiceError, translate
from service.gateway import Gateway, parse_timeout, request_id
from service.page.page import page_router
from service.rest.accept import JSON, WRITERS, media_type, to_json
from service.rest.convert import answer_body, batch_body, layout_json, models_body
from service.rest.errors import error_response
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

_FRAMEWORK: Final = {
    404: (ErrorKind.NOT_FOUND, "there is nothing here; see /docs"),
    405: (ErrorKind.METHOD_NOT_ALLOWED, "this path answers other methods; see /docs"),
}


def build_app(gateway: Gateway) -> FastAPI:
    """The ASGI application that serves `gateway`."""
    # its description page needs nothing from the network
    app: FastAPI = FastAPIOffline(title="Face landmarks", description=_DESCRIPTION, version="1", redoc_url=None)

    @app.exception_handler(ServiceError)
    async def failed(request: Request, error: ServiceError) -> Response:
        return error_response(error, _id(request))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        kind, message = _FRAMEWORK.get(error.status_code, (ErrorKind.INVALID_REQUEST, "the request cannot be read"))
        return error_response(ServiceError(kind, message), _id(request))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return error_response(translate(error), _id(request))

    @app.post(
        "/v1/landmarks",
        response_model=None,
        summary="The 98 points of every face in one image",
        responses={200: answer_response(AnswerModel), **error_responses(*_LANDMARKS_ERRORS)},
        openapi_extra=dict(landmarks_operation()),
    )
    async def landmarks(request: Request) -> Response:
        identity = _id(request)
        with gateway.admitted("rest", identity):
            deadline = _deadline(gateway, request)
            asked = await asyncio.wait_for(read_request(request, gateway.max_bytes), deadline - time.monotonic())
            answer = await gateway.detect(*asked, deadline)
            return _answered(request, answer_body(answer, identity))

    @app.post(
        "/v1/landmarks/batch",
        response_model=None,
        summary="Several images in one call, each with its own answer or problem",
        responses={200: answer_response(BatchModel), **error_responses(*_BATCH_ERRORS)},
        openapi_extra=dict(batch_operation()),
    )
    async def batch(request: Request) -> Response:
        identity = _id(request)
        with gateway.admitted("rest", identity):
            deadline = _deadline(gateway, request)
            asked = await asyncio.wait_for(read_batch(request, gateway.max_batch_bytes), deadline - time.monotonic())
            outcomes = await gateway.detect_each(asked, identity, deadline)
            return _answered(request, batch_body(outcomes, identity))

    @app.get("/v1/models", response_model=None, responses={200: {"model": ModelsModel}}, summary="The models served")
    async def models() -> Response:
        return Response(to_json(models_body(gateway.models)), media_type=JSON)

    layout = layout_json()

    @app.get("/v1/layout", response_model=None, responses={200: {"model": LayoutModel}}, summary="The points' names")
    async def layout_route() -> Response:
        return Response(layout, media_type=JSON)

    @app.get("/healthz", response_model=None, summary="The process is alive")
    async def healthz() -> Response:
        return Response(b'{"status":"ok"}', media_type=JSON)

    @app.get(
        "/readyz",
        response_model=None,
        summary="The network has answered its golden crop",
        responses=error_responses(ErrorKind.UNAVAILABLE),
    )
    async def readyz() -> Response:
        if not await gateway.readiness.check():
            raise ServiceError(ErrorKind.UNAVAILABLE, "the network does not answer correctly yet; try again shortly")
        return Response(b'{"status":"ready"}', media_type=JSON)

    @app.get("/metrics", response_model=None, summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(gateway.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(page_router())
    return app


def _deadline(gateway: Gateway, request: Request) -> float:
    asked = request.headers.get("x-request-timeout")
    return gateway.deadline(None if asked is None else parse_timeout(asked))


def _answered(request: Request, body: Mapping[str, Any]) -> Response:
    """The answer, written as the client's Accept header prefers."""
    form = media_type(request.headers.get("accept", ""))
    return Response(WRITERS[form](body), 200, {"X-Request-ID": _id(request)}, form)


def _id(request: Request) -> str:
    """The request's id, made once."""
    if not hasattr(request.state, "id"):
        request.state.id = request_id(request.headers.get("x-request-id"))
    identity: str = request.state.id
    return identity


_LANDMARKS_ERRORS: Final = tuple(
    kind
    for kind in ErrorKind
    if kind not in (ErrorKind.NOT_FOUND, ErrorKind.METHOD_NOT_ALLOWED, ErrorKind.TOO_MANY_IMAGES)
)
_BATCH_ERRORS: Final = (
    ErrorKind.INVALID_REQUEST,
    ErrorKind.TOO_MANY_IMAGES,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.TOO_MANY_BYTES,
    ErrorKind.OVERLOADED,
    ErrorKind.DEADLINE_EXCEEDED,
    ErrorKind.INTERNAL,
)
"""Of a call as a whole; what is wrong with one of its images is told in that image's place."""
_DESCRIPTION: Final = (
    "98 sub-pixel landmarks per face in the WFLW layout, each with its score and covariance. Pixels: (0, 0) is the "
    "centre of the top-left pixel, and the image is taken as shown, after its EXIF orientation.\n\n"
    "    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/v1/landmarks"
)
