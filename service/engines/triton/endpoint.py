"""One Triton among several: calls to it, and whether it can be asked now.

::

    up   --- a call finds it gone, or a probe fails --->  down: nothing is sent to it
    down --- a probe finds it ready, and its model right --->  up
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import grpc
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.deadline import Deadline
from service.engines.port import EngineError, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.observability.request_scope import round_trip

logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 1.0
"""How often an endpoint that is up is asked whether it is ready."""
PROBE_TIMEOUT: Final = 5.0
"""How long it may take to answer that. A Triton that is only busy answers at once, unless the whole machine is."""
PROOF_SECONDS: Final = 10.0
"""How often an endpoint that is up has to prove what it serves, and how long it may take to."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds between probes of an endpoint that is down: the first, doubled after each failure up to the longest."""
LAST_CALLS_SECONDS: Final = 5.0
"""How long closing waits for calls that nobody listens to any more."""

T = TypeVar("T")


class Endpoint(Generic[T]):
    """The calls to one Triton, which are never cancelled: releases of Triton crash on that (decision 0005)."""

    def __init__(self, address: str, prove: Callable[[Endpoint[T]], Awaitable[T]]) -> None:
        """`address`: host:port. `prove`: asks the endpoint what it serves; raises EngineError unless that is right."""
        self.address = address
        self.identity: T | None = None
        """What `prove` found; None while the endpoint is down."""
        self.failure: EngineError = EngineUnavailable(f"Triton at {address} has not been asked yet")
        """Why it is down, or was last."""
        self.probed = asyncio.Event()
        """Set once it is known whether it is up."""
        self._prove = prove
        self._client = InferenceServerClient(address, channel_args=_CHANNEL_ARGUMENTS)
        self._calls: set[asyncio.Future[Any]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._failures = 0
        self._proved = self._answered = -math.inf

    @property
    def is_up(self) -> bool:
        return self.identity is not None

    @property
    def in_flight(self) -> int:
        """Calls that Triton works on, those included that nobody waits for any more."""
        return len(self._calls)

    @property
    def pause(self) -> float:
        """Seconds until the next probe."""
        return PROBE_SECONDS if self.is_up else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 8))

    async def infer(
        self,
        model: str,
        inputs: list[InferInput],
        parameters: dict[str, Any] | None = None,
        deadline: Deadline | None = None,
    ) -> Any:
        """Triton's answer. Raises EngineError; when that is EngineUnavailable, the endpoint is down.

        The request carries its deadline as Triton's own queue timeout, so that Triton drops it by itself.
        """
        try:
            timeout = None if deadline is None else deadline.remaining()
            microseconds = None if timeout is None else max(1, int(timeout * 1e6))
            with round_trip() as headers:
                call = self._client.infer(model, inputs, parameters=parameters, timeout=microseconds, headers=headers)
                return await asyncio.wait_for(self._heard(call), timeout)
        except asyncio.TimeoutError as error:
            raise EngineTimeout(f"Triton at {self.address} did not answer in time") from error
        except EngineUnavailable as error:
            self.eject(error)
            raise

    async def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What Triton says of itself. Raises EngineError, within PROBE_TIMEOUT."""
        try:
            return await getattr(self._client, method)(*arguments, **options, client_timeout=PROBE_TIMEOUT)
        except InferenceServerException as error:
            raise translated(error, self.address) from error

    async def config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as Triton's JSON writes it. Raises EngineError."""
        config: dict[str, Any] = (await self.ask("get_model_config", model, as_json=True))["config"]
        return config

    async def probe(self) -> None:
        """Finds out whether the endpoint is up. Never raises; one probe at a time."""
        asked, was_up = time.monotonic(), self.is_up
        try:
            await self._check()
        except EngineError as error:
            # slow, but answering: busy rather than broken
            if not (self.is_up and isinstance(error, EngineTimeout | EngineOverloaded) and self._answered >= asked):
                self.eject(error)
                self._failures += not was_up
        except Exception as error:
            logger.exception("Triton at %s could not be probed", self.address)
            self.eject(EngineFailure(f"Triton at {self.address} could not be probed: {error}"))
            self._failures += not was_up
        self.probed.set()

    async def _check(self) -> None:
        if not await self.ask("is_server_ready"):
            raise EngineUnavailable(f"Triton at {self.address} is not ready")
        was_up = self.is_up
        if not was_up or time.monotonic() - self._proved >= PROOF_SECONDS:
            identity = await self._prove(self)
            self._proved = time.monotonic()
            if was_up == self.is_up:  # else it failed meanwhile
                self.identity = identity
        if was_up:
            self._failures = 0  # not after the first success, lest one that comes and goes be trusted each time
        elif self.is_up:
            logger.info("Triton at %s is ready", self.address)

    def eject(self, error: EngineError) -> None:
        """Down from now on, until a probe succeeds. Who waits for its answer gets EngineUnavailable at once."""
        if error is self.failure:
            return  # met by a call of the probe that now tells of it
        is_news = self.is_up or type(error) is not type(self.failure)
        logger.log(logging.WARNING if is_news else logging.DEBUG, "left out: %s", error)
        self.failure = error
        self._failures += self.is_up  # once, however many calls meet it
        self.identity = None
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(EngineUnavailable(f"Triton at {self.address} went down: {error}"))

    async def close(self) -> None:
        """Waits a while for the last calls, then lets go of the connection."""
        self.identity = None
        self.probed.set()
        if self._calls:
            await asyncio.wait(self._calls, timeout=LAST_CALLS_SECONDS)
        await self._client.close()

    def _heard(self, call: Awaitable[Any]) -> asyncio.Future[Any]:
        """A future of the call's result. Cancelling it, or `eject`, leaves the call itself to go on unheard."""
        task, answer = asyncio.ensure_future(call), asyncio.get_running_loop().create_future()
        self._calls.add(task)
        self._waiting.add(answer)
        task.add_done_callback(lambda _: self._settle(task, answer))
        answer.add_done_callback(self._waiting.discard)
        return answer

    def _settle(self, task: asyncio.Future[Any], answer: asyncio.Future[Any]) -> None:
        self._calls.discard(task)
        error = EngineUnavailable("the connection was closed") if task.cancelled() else task.exception()
        if isinstance(error, InferenceServerException):
            error = translated(error, self.address)
        if not isinstance(error, EngineUnavailable):
            self._answered = time.monotonic()
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(task.result())


_CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # find a restarted Triton again within a second rather than two minutes, and wait no longer for a connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # a connection of its own
    ("grpc.use_local_subchannel_pool", 1),
]

_GONE: Final = re.compile(r"no available versions|[Ss]tub process .*(not healthy|unhealthy)")
"""What Triton says while it stops, and once the process of a Python model has died."""


def translated(error: InferenceServerException, address: str) -> EngineError:
    """The engine's error for Triton's: by gRPC code, and where one code means several things by Triton's words."""
    status, message = error.status(), str(error.message())
    if status == str(grpc.StatusCode.DEADLINE_EXCEEDED) or "timeout expired" in message.lower():
        return EngineTimeout(f"Triton at {address} did not answer in time")
    if "maximum queue size" in message:
        return EngineOverloaded(f"Triton at {address} has a full queue")
    # calls are never cancelled here, so Triton ended this one itself
    if status in (str(grpc.StatusCode.UNAVAILABLE), str(grpc.StatusCode.CANCELLED)) or _GONE.search(message):
        return EngineUnavailable(f"Triton at {address} is unavailable: {message}")
    return EngineFailure(f"Triton at {address} failed: {status} {message}")
