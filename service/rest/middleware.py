"""What every HTTP request passes before the routes: its id, the headers browsers heed, CORS, and the API key.

Plain ASGI: it costs a request a few microseconds.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway, request_id
from service.observability.request_scope import client
from service.security.api_keys import MISSING_KEY, ApiKeys, Protection, key_of
from service.wire.problem import error_response

_OPEN: Final = frozenset({"/", "/v1/layout", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
_OPEN_FOLDERS: Final = ("/page/", "/static-offline-docs/")
"""What everybody may read: the page, the description, and what machines ask about health. A path that is not here needs
a key, whether it exists or not."""

_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # the page has a policy of its own
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_DESCRIPTION_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)
"""For /docs: Swagger's page starts itself by a script in its markup."""
_YEAR: Final = 365 * 24 * 3600


def shielded(app: ASGIApp, gateway: Gateway, protection: Protection) -> ASGIApp:
    """`app` behind all of it."""
    inner: ASGIApp = KeyCheck(app, gateway, protection.keys) if protection.keys else app
    if protection.cors_origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=protection.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "X-Request-Timeout"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    headers = dict(_HEADERS)
    if protection.tls is not None:
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
    if protection.cors_origins:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return Greeting(inner, headers)


class Greeting:
    """Gives a request its id, and every answer that id and the headers it has not set itself."""

    def __init__(self, app: ASGIApp, headers: dict[str, str]) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(Headers(scope=scope).get("x-request-id"))
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
    """Adds those of `more` whose name is not there yet; all names in lower case, as ASGI has them."""
    there = {name for name, _ in headers}
    for name, value in more:
        if name not in there:
            there.add(name)
            headers.append((name, value))


class KeyCheck:
    """Lets nothing pass without a key but what everybody may read."""

    def __init__(self, app: ASGIApp, gateway: Gateway, keys: ApiKeys) -> None:
        self._app = app
        self._gateway = gateway
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_open(scope["path"]):
            headers = Headers(scope=scope)
            holder = self._keys.holder(key_of(headers.get("authorization"), headers.get("x-api-key")))
            if holder is None:
                await self._refuse(scope, receive, send)
                return
            client.set(holder)
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity = scope["state"]["id"]
        self._gateway.telemetry.refused("rest", identity, ErrorKind.UNAUTHENTICATED.value)
        error = ServiceError(ErrorKind.UNAUTHENTICATED, MISSING_KEY)
        await error_response(error, identity)(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether everybody may read what is at this path."""
    return path in _OPEN or path.startswith(_OPEN_FOLDERS)
