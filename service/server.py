"""Both doors in one process and one event loop, from the first port bound to the last request answered."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from typing import TypeVar

import grpc
import uvicorn
from starlette.types import ASGIApp

from service.bootstrap import StartError, running_gateway
from service.gateway import Gateway
from service.rest.app import build_app, build_metrics_app
from service.rest.timeouts import WhileConnected, protocol
from service.rpc.server import build_server
from service.security.api_keys import Protection, SecurityError, is_loopback, protection
from service.security.tls import Tls
from service.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then lets requests in flight finish. Raises StartError."""
    shield = _protection(settings)
    with _stop_signals() as stop, bound(settings.host, settings.port) as rest_socket:
        # a port where somebody listens is known at once, rather than after Triton's start
        with bound(settings.host, settings.grpc_port), _metrics_bound(settings):
            pass
        async with AsyncExitStack() as stack:
            gateway = await _unless(stop, stack.enter_async_context(running_gateway(settings)))
            if gateway is not None:
                await _serve(settings, shield, gateway, rest_socket, stop)


async def _serve(
    settings: Settings, shield: Protection, gateway: Gateway, rest_socket: socket.socket, stop: asyncio.Event
) -> None:
    try:
        rpc, rpc_port = build_server(gateway, _address(settings.host, settings.grpc_port), shield)
    except OSError as error:
        raise _taken(settings.host, settings.grpc_port) from error
    rest = RestServer(gateway, settings.grace, settings.read_timeout, shield)
    # the metrics' port outlives the doors: while they close, it says that the service is no longer ready
    async with _metrics_served(settings, gateway) as metrics_port:
        running = asyncio.create_task(rest.serve(sockets=[rest_socket]))
        await listens(rest, running, settings.host, settings.port)
        await rpc.start()
        _announce(settings, shield, rest_socket.getsockname()[1], rpc_port, metrics_port)
        await stop.wait()
        await close_doors(gateway, rest, running, rpc, settings.grace)


def _protection(settings: Settings) -> Protection:
    try:
        shield = protection(settings)
    except SecurityError as error:
        raise StartError(str(error)) from error
    if shield.keys and shield.tls is None and not is_loopback(settings.host):
        logger.warning(
            "API keys travel to %s unencrypted: set LANDMARKS_TLS_CERTIFICATE and LANDMARKS_TLS_KEY, unless a proxy in "
            "front does TLS",
            settings.host,
        )
    return shield


@contextmanager
def _metrics_bound(settings: Settings) -> Iterator[socket.socket | None]:
    if settings.metrics_port is None:
        yield None
        return
    with bound(settings.metrics_host or settings.host, settings.metrics_port) as sock:
        yield sock


@asynccontextmanager
async def _metrics_served(settings: Settings, gateway: Gateway) -> AsyncIterator[int | None]:
    """Health and metrics on a port of their own, if they have one: gives its number."""
    with _metrics_bound(settings) as sock:
        if sock is None:
            yield None
            return
        server = HttpServer(build_metrics_app(gateway), settings.grace, settings.read_timeout)
        running = asyncio.create_task(server.serve(sockets=[sock]))
        host, port = sock.getsockname()[:2]
        await listens(server, running, host, port)
        try:
            yield port
        finally:
            server.should_exit = True
            await running


async def listens(server: HttpServer, running: asyncio.Task[None], host: str, port: int) -> None:
    """Returns once the server does. Raises StartError where another has begun to listen there since it was bound."""
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait([listening, running], return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    if running.done():
        raise _taken(host, port) from running.exception()


async def close_doors(
    gateway: Gateway, rest: RestServer, running: asyncio.Future[None], rpc: grpc.aio.Server, grace: float
) -> None:
    """Takes no new requests, and gives those in flight `grace` seconds to finish."""
    gateway.readiness.stop()
    rest.should_exit = True
    await asyncio.gather(rpc.stop(grace), running)


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers (one place stops both doors), and with an event once it listens."""

    def __init__(self, app: ASGIApp, grace: float, read_timeout: float, tls: Tls | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                WhileConnected(app, read_timeout),
                http=protocol(read_timeout),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # pooled clients keep connections for a minute; one closed under their hands is an error to them
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(grace)),
                **({} if tls is None else tls.uvicorn_options()),
            )
        )
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class RestServer(HttpServer):
    """The REST door."""

    def __init__(
        self, gateway: Gateway, grace: float, read_timeout: float = 10.0, shield: Protection | None = None
    ) -> None:
        super().__init__(build_app(gateway, shield), grace, read_timeout, shield.tls if shield else None)


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of `work`; or None, having cancelled it, when `stop` is set before it is done."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket bound to host:port. Raises StartError when it is taken or not of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror}; set LANDMARKS_HOST") from error
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            raise _taken(host, port) from error
        yield sock


def _taken(host: str, port: int) -> StartError:
    return StartError(
        f"cannot listen on {_address(host, port)}: it is in use or not allowed; "
        "stop what listens there, or set LANDMARKS_PORT and LANDMARKS_GRPC_PORT (0 takes a free port)"
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _announce(settings: Settings, shield: Protection, port: int, rpc_port: int, metrics_port: int | None) -> None:
    host, scheme = settings.host, "http" if shield.tls is None else "https"
    url = f"{scheme}://{_address(host, port)}"
    photo = shlex.quote(f"@{files('landmarks').joinpath('golden.png')}")
    key = ' -H "Authorization: Bearer $LANDMARKS_API_KEY"' if shield.keys else ""
    lines = [
        "Serving face landmarks. Ctrl-C stops.",
        f"  REST  {url}  (description: {url}/docs)",
        f"  gRPC  {_address(host, rpc_port)}",
        f"  try   curl --data-binary {photo} -H 'Content-Type: image/png'{key} {url}/v1/landmarks",
    ]
    if metrics_port is not None:
        lines.insert(3, f"  metrics  http://{_address(settings.metrics_host or host, metrics_port)}/metrics")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
