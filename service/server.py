"""The life of the process: binds the ports, runs the REST and the gRPC server in one event loop, and stops both."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from typing import TypeVar, cast

import grpc
import uvicorn
from starlette.types import ASGIApp

from service.bootstrap import running_gateway
from service.errors import StartError
from service.gateway import Gateway
from service.memory import MemoryBudget
from service.observability.request_scope import Telemetry
from service.open_files import METRICS_CONNECTIONS, connection_limits, raise_open_files
from service.rest.app import build_app, build_metrics_app
from service.rest.listener import ConnectionLimits, HttpConnection, Listener
from service.rest.protocol import http_protocol
from service.rest.timeouts import CancelOnDisconnect
from service.rpc.connections import keep_within
from service.rpc.server import build_server
from service.security.api_keys import Protection, SecurityError, is_loopback, read_protection
from service.security.reload import keep_loaded, watched
from service.security.tls import Tls
from service.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then lets requests in flight finish. Raises StartError."""
    protection = _protection(settings)
    with _stop_signals() as stop, bound_socket(settings.host, settings.port) as rest_socket:
        # a port in use is reported at once, rather than after Triton has started
        with bound_socket(settings.host, settings.grpc_port), _metrics_socket(settings):
            pass
        async with AsyncExitStack() as stack:
            gateway = await _result_unless(stop, stack.enter_async_context(running_gateway(settings)))
            if gateway is not None:
                await _serve(settings, protection, gateway, rest_socket, stop)


async def _serve(
    settings: Settings, protection: Protection, gateway: Gateway, rest_socket: socket.socket, stop: asyncio.Event
) -> None:
    limits = connection_limits(settings.max_connections, settings.max_connections_per_peer, raise_open_files())
    try:
        address = _address(settings.host, settings.grpc_port)
        rpc, rpc_port = build_server(gateway, address, protection, limits.total, settings.read_timeout)
    except OSError as error:
        raise _port_in_use(settings.host, settings.grpc_port) from error
    rest = RestServer(gateway, settings.grace, settings.read_timeout, protection, limits, settings.root_path)
    # the metrics server stops last: while the APIs stop, it reports that the service is no longer ready
    async with metrics_server(settings, gateway) as metrics_port:
        running = asyncio.create_task(rest.serve(sockets=[rest_socket]))
        await wait_until_listening(rest, running, settings.host, settings.port)
        await rpc.start()
        _announce(settings, protection, rest_socket.getsockname()[1], rpc_port, metrics_port)
        tasks = [
            asyncio.create_task(keep_loaded(watched(protection, settings, gateway.metrics))),
            asyncio.create_task(
                keep_within(rpc_port, limits, lambda reason: gateway.metrics.connections_closed.labels(reason).inc())
            ),
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await stop_apis(gateway, rest, running, rpc, settings.grace)


def _protection(settings: Settings) -> Protection:
    try:
        protection = read_protection(settings)
    except SecurityError as error:
        raise StartError(str(error)) from error
    if protection.keys and protection.tls is None and not is_loopback(settings.published_host or settings.host):
        logger.warning(
            "API keys are sent to %s unencrypted: set LANDMARKS_TLS_CERTIFICATE and LANDMARKS_TLS_KEY, unless a proxy "
            "in front of the service terminates TLS",
            settings.host,
        )
    return protection


@contextmanager
def _metrics_socket(settings: Settings) -> Iterator[socket.socket | None]:
    if settings.metrics_port is None:
        yield None
        return
    with bound_socket(settings.metrics_host or settings.host, settings.metrics_port) as sock:
        yield sock


@asynccontextmanager
async def metrics_server(settings: Settings, gateway: Gateway) -> AsyncIterator[int | None]:
    """Serves health and metrics on their own port, and yields its number; None where no port is set."""
    with _metrics_socket(settings) as sock:
        if sock is None:
            yield None
            return
        server = HttpServer(
            build_metrics_app(gateway),
            settings.grace,
            settings.read_timeout,
            telemetry=gateway.telemetry,
            limits=METRICS_CONNECTIONS,
        )
        running = asyncio.create_task(server.serve(sockets=[sock]))
        host, port = sock.getsockname()[:2]
        await wait_until_listening(server, running, host, port)
        try:
            yield port
        finally:
            server.should_exit = True
            await running


async def wait_until_listening(server: HttpServer, running: asyncio.Task[None], host: str, port: int) -> None:
    """Returns once the server listens. Raises StartError when another process has begun to listen there meanwhile."""
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait([listening, running], return_when=asyncio.FIRST_COMPLETED)
    listening.cancel()
    if running.done():
        raise _port_in_use(host, port) from running.exception()


async def stop_apis(
    gateway: Gateway, rest: RestServer, running: asyncio.Future[None], rpc: grpc.aio.Server, grace: float
) -> None:
    """Accepts no new requests, and gives those in flight `grace` seconds to finish."""
    gateway.readiness.stop()
    rest.should_exit = True
    await asyncio.gather(rpc.stop(grace), running)


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, because `serve` stops all servers, and with an event for when it listens."""

    def __init__(
        self,
        app: ASGIApp,
        grace: float,
        read_timeout: float,
        tls: Tls | None = None,
        telemetry: Telemetry | None = None,
        limits: ConnectionLimits | None = None,
        memory: MemoryBudget | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                CancelOnDisconnect(app, read_timeout, memory),
                http=http_protocol(read_timeout, telemetry),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # clients pool connections for about a minute; using one that the server has closed is an error to them
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(grace)),
            )
        )
        self.listening = asyncio.Event()
        self._tls = tls
        self._limits = limits or ConnectionLimits()
        self._metrics = None if telemetry is None else telemetry.metrics

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for sock in sockets or ():
            listener = Listener(sock, self._protocol, self._limits, self._tls, self._count_closed)
            self.servers.append(listener)  # type: ignore[arg-type]  # it has the two methods that uvicorn calls
        self.listening.set()

    def _protocol(self) -> HttpConnection:
        make = cast(Callable[..., HttpConnection], self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _count_closed(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.connections_closed.labels(reason).inc()


class RestServer(HttpServer):
    """The REST API."""

    def __init__(
        self,
        gateway: Gateway,
        grace: float,
        read_timeout: float = 10.0,
        protection: Protection | None = None,
        limits: ConnectionLimits | None = None,
        root_path: str = "",
    ) -> None:
        tls = protection.tls if protection else None
        app = build_app(gateway, protection, root_path)
        super().__init__(app, grace, read_timeout, tls, gateway.telemetry, limits, gateway.memory)


async def _result_unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of `work`; None when `stop` is set first, after which `work` is cancelled."""
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
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket bound to host:port. Raises StartError when it is in use, or not an address of this machine."""
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
            raise _port_in_use(host, port) from error
        yield sock


def _port_in_use(host: str, port: int) -> StartError:
    return StartError(
        f"cannot listen on {_address(host, port)}: it is in use or not allowed; "
        "stop the process that listens there, or set LANDMARKS_PORT, LANDMARKS_GRPC_PORT or LANDMARKS_METRICS_PORT "
        "(0 takes a free port)"
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _announce(settings: Settings, protection: Protection, port: int, rpc_port: int, metrics_port: int | None) -> None:
    host, scheme = settings.host, "http" if protection.tls is None else "https"
    url = f"{scheme}://{_address(host, port)}"
    image = shlex.quote(f"@{files('landmarks').joinpath('golden.png')}")
    key = ' -H "Authorization: Bearer $LANDMARKS_API_KEY"' if protection.keys else ""
    lines = [
        "Serving face landmarks. Ctrl-C stops.",
        f"  REST  {url}  (description: {url}/docs)",
        f"  gRPC  {_address(host, rpc_port)}",
        f"  try   curl --data-binary {image} -H 'Content-Type: image/png'{key} {url}/v1/landmarks",
    ]
    if metrics_port is not None:
        lines.insert(3, f"  metrics  http://{_address(settings.metrics_host or host, metrics_port)}/metrics")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
