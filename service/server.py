"""Both doors in one process and one event loop, from the first port bound to the last request answered."""

from __future__ import annotations

import asyncio
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from importlib.resources import files
from typing import TypeVar

import grpc
import uvicorn

from service.bootstrap import StartError, running_gateway
from service.gateway import Gateway
from service.rest.app import build_app
from service.rpc.server import build_server
from service.settings import Settings

T = TypeVar("T")


async def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then lets requests in flight finish. Raises StartError."""
    with _stop_signals() as stop, bound(settings.host, settings.port) as rest_socket:
        with bound(settings.host, settings.grpc_port):
            pass  # a port that is taken is known at once, rather than after Triton's start
        broken = asyncio.Event()
        async with AsyncExitStack() as stack:

            def engine_ended() -> None:
                broken.set()
                stop.set()

            running = running_gateway(settings, engine_ended)
            gateway = await _unless(stop, stack.enter_async_context(running))
            if gateway is not None:
                await _serve(settings, gateway, rest_socket, stop)
        if broken.is_set():
            raise StartError("Triton ended by itself, and without it nothing can be served: start again")


async def _serve(settings: Settings, gateway: Gateway, rest_socket: socket.socket, stop: asyncio.Event) -> None:
    try:
        rpc, rpc_port = build_server(gateway, _address(settings.host, settings.grpc_port))
    except OSError as error:
        raise _taken(settings.host, settings.grpc_port) from error
    rest = RestServer(gateway, settings.grace)
    running = asyncio.ensure_future(rest.serve(sockets=[rest_socket]))
    await rpc.start()
    await rest.listening.wait()
    _announce(settings.host, rest_socket.getsockname()[1], rpc_port)
    await stop.wait()
    await close_doors(gateway, rest, running, rpc, settings.grace)


async def close_doors(
    gateway: Gateway, rest: RestServer, running: asyncio.Future[None], rpc: grpc.aio.Server, grace: float
) -> None:
    """Takes no new requests, and gives those in flight `grace` seconds to finish."""
    gateway.readiness.stop()
    rest.should_exit = True
    await asyncio.gather(rpc.stop(grace), running)


class RestServer(uvicorn.Server):
    """uvicorn without its signal handlers (one place stops both doors), and with an event once it listens."""

    def __init__(self, gateway: Gateway, grace: float) -> None:
        super().__init__(
            uvicorn.Config(
                build_app(gateway),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # pooled clients keep connections for a minute; one closed under their hands is an error to them
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(grace)),
            )
        )
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


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


def _announce(host: str, port: int, rpc_port: int) -> None:
    url = f"http://{_address(host, port)}"
    photo = shlex.quote(f"@{files('landmarks').joinpath('golden.png')}")
    sys.stdout.write(
        f"Serving face landmarks. Ctrl-C stops.\n"
        f"  REST  {url}  (description: {url}/docs)\n"
        f"  gRPC  {_address(host, rpc_port)}\n"
        f"  try   curl --data-binary {photo} -H 'Content-Type: image/png' {url}/v1/landmarks\n"
    )
    sys.stdout.flush()
