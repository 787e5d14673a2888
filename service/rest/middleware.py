"""The middleware of the REST API: HEAD, request id, security headers, browsers, CORS, and the check of the API key.

Plain ASGI, which costs a few microseconds per request.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway
from service.observability.request_scope import client
from service.request_ids import request_id_or_new
from service.rest.browsers import is_foreign, wrong_host
from service.rest.errors import error_response
from service.security.api_keys import MISSING_KEY, ApiKeys, Protection, key_of

_PUBLIC_PATHS: Final = frozenset({"/", "/v1/layout", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
_PUBLIC_FOLDERS: Final = ("/page/", "/static-offline-docs/")
"""Paths that need no API key: the page, the API's description, health and metrics. Every other path needs one, even if
it does not exist."""

_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # the page sets its own policy
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_DESCRIPTION_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)
"""For /docs: Swagger's page is started by a script in its markup."""
_WRONG_HOST: Final = (
    "this service requires no key, and therefore answers only to addresses, to localhost and to names in "
    "LANDMARKS_ALLOWED_HOSTS"
)
_FOREIGN: Final = "a web page of another origin sends this request: LANDMARKS_CORS_ORIGINS names those that may"
_YEAR: Final = 365 * 24 * 3600


def add_middleware(app: ASGIApp, gateway: Gateway, protection: Protection, root_path: str = "") -> ASGIApp:
    """`app` behind all of the middleware."""
    inner: ASGIApp = ApiKeyMiddleware(app, gateway, protection.keys) if protection.keys else app
    if protection.cors_origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=protection.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "X-Request-Timeout"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    inner = BrowserMiddleware(inner, gateway, protection)
    headers = dict(_HEADERS)
    if protection.tls is not None:
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
    if protection.cors_origins:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return CanonicalRequestMiddleware(RequestIdMiddleware(inner, headers), root_path)


class CanonicalRequestMiddleware:
    """Answers HEAD as GET without the body, and a path that ends with a slash, or begins with the path that a proxy
    puts before it, as the path without these.
    """

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        method = "GET" if is_head else scope["method"]
        path = scope["path"].rstrip("/")
        if path == self._root_path or path.startswith(f"{self._root_path}/"):
            path = path.removeprefix(self._root_path)
        scope = {**scope, "method": method, "path": path or "/"}
        await self._app(scope, receive, send_without_body if is_head else send)


class RequestIdMiddleware:
    """Gives each request its id, and adds the id and `headers` to each answer that does not set them itself."""

    def __init__(self, app: ASGIApp, headers: dict[str, str]) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id_or_new(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["id"] = identity

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(b"x-request-id", identity.encode()), *self._headers]
                if scope["path"] == "/docs":
                    headers.insert(0, (b"content-security-policy", _DESCRIPTION_POLICY.encode()))
                add_missing(message["headers"], headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def add_missing(headers: list[tuple[bytes, bytes]], more: list[tuple[bytes, bytes]]) -> None:
    """Adds those of `more` whose name `headers` lack. All names are in lower case, as in ASGI."""
    names = {name for name, _ in headers}
    for name, value in more:
        if name not in names:
            names.add(name)
            headers.append((name, value))


class ApiKeyMiddleware:
    """Refuses requests without a valid API key, except for public paths."""

    def __init__(self, app: ASGIApp, gateway: Gateway, keys: ApiKeys) -> None:
        self._app = app
        self._gateway = gateway
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_public(scope["path"]):
            headers = Headers(scope=scope)
            holder = self._keys.holder(key_of(headers.get("authorization"), headers.get("x-api-key")))
            if holder is None:
                await _refusal(self._gateway, ErrorKind.UNAUTHENTICATED, MISSING_KEY)(scope, receive, send)
                return
            client.set(holder)
        await self._app(scope, receive, send)


class BrowserMiddleware:
    """Refuses what pages of other sites have browsers send, by `service.rest.browsers`."""

    def __init__(self, app: ASGIApp, gateway: Gateway, protection: Protection) -> None:
        self._app = app
        self._gateway = gateway
        self._hosts = protection.hosts
        self._origins = protection.cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if self._hosts is not None and wrong_host(headers, self._hosts) is not None:
                await _refusal(self._gateway, ErrorKind.FORBIDDEN, _WRONG_HOST)(scope, receive, send)
                return
            if is_foreign(scope["method"], headers, self._origins):
                await _refusal(self._gateway, ErrorKind.FORBIDDEN, _FOREIGN)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(gateway: Gateway, kind: ErrorKind, message: str) -> ASGIApp:
    """Answers a request that no work is done for."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        identity = scope["state"]["id"]
        gateway.telemetry.refused("rest", identity, kind.value)
        await error_response(ServiceError(kind, message), identity)(scope, receive, send)

    return refuse


def is_public(path: str) -> bool:
    """Whether this path needs no API key."""
    return path in _PUBLIC_PATHS or path.startswith(_PUBLIC_FOLDERS)
