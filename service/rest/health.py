"""Liveness, readiness and metrics, as part of the REST API or on a port of their own."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway
from service.rest.negotiation import JSON
from service.rest.schema import error_responses


def health_router(gateway: Gateway, *, with_metrics: bool) -> APIRouter:
    """`/healthz`, `/readyz` and, if wanted, `/metrics`."""
    router = APIRouter()

    @router.get("/healthz", response_model=None, summary="The process is alive")
    async def healthz() -> Response:
        return Response(b'{"status":"ok"}', media_type=JSON)

    @router.get(
        "/readyz",
        response_model=None,
        summary="The network has answered its golden crop",
        responses=error_responses(ErrorKind.UNAVAILABLE),
    )
    async def readyz() -> Response:
        if not await gateway.readiness.check():
            raise ServiceError(ErrorKind.UNAVAILABLE, "the network does not answer correctly yet; try again shortly")
        return Response(b'{"status":"ready"}', media_type=JSON)

    if with_metrics:

        @router.get("/metrics", response_model=None, summary="Prometheus metrics")
        async def metrics() -> Response:
            return Response(gateway.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
