"""One Triton server among several: the calls to it, and whether it can be used now.

::

    up   --- a call fails to reach it, or a probe fails ------------->  down: no requests are sent to it
    down --- a probe finds it ready, and verifies what it serves --->  up
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

from landmarks_client.proxy import proxy_advice, proxy_options
from service.deadline import Deadline
from service.engines.port import EngineError, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton.tls import TritonTls
from service.memory import hold_during
from service.observability.request_scope import round_trip

logger = logging.getLogger(__name__)

PROBE_INTERVAL: Final = 1.0
"""Seconds between two readiness probes of an endpoint that is up."""
PROBE_TIMEOUT: Final = 5.0
"""Seconds that a probe may take. A busy Triton answers it at once, unless the whole machine is overloaded."""
VERIFY_INTERVAL: Final = 10.0
"""Seconds between two verifications of what an endpoint that is up serves."""
VERIFY_TIMEOUT: Final = 10.0
"""Seconds that each inference of a verification may take."""
QUEUE_INTERVAL: Final = 0.2
"""Seconds until an inference of a verification that met a full queue is tried again."""
INITIAL_BACKOFF: Final = 0.1
MAX_BACKOFF: Final = 2.0
"""Seconds between probes of an endpoint that is down: the first delay, doubled after each failure up to the maximum."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds that `close` waits for calls that Triton still works on."""

T = TypeVar("T")


class Endpoint(Generic[T]):
    """The calls to one Triton. They are never cancelled, because releases of Triton crash on that (decision 0005)."""

    def __init__(
        self,
        address: str,
        verify: Callable[[Endpoint[T]], Awaitable[T]],
        tls: TritonTls | None = None,
        host: str = "",
    ) -> None:
        """`address`: host:port or unix:PATH. `verify`: returns what the endpoint serves; raises EngineError unless it
        is correct. `tls`: of the connection, whose certificate must be that of `host`.
        """
        self.address = address
        self.identity: T | None = None
        """What `verify` returned; None while the endpoint is down."""
        self.failure: EngineError = EngineUnavailable(f"Triton at {address} has not been probed yet")
        """Why it is down, or was the last time."""
        self.probed = asyncio.Event()
        """Set once the first probe has ended."""
        self._verify = verify
        self._tls, self._host = tls, host
        self._credentials = None if tls is None else tls.credentials()
        self._client = self._connect()
        self._calls: set[asyncio.Future[Any]] = set()
        self._results: set[asyncio.Future[Any]] = set()
        self._failures = 0
        self._verified_at = -math.inf
        self._answered_at: dict[str, float] = {}
        """When each model has answered last."""

    @property
    def is_up(self) -> bool:
        return self.identity is not None

    @property
    def in_flight(self) -> int:
        """Calls that Triton works on, including those whose caller has given up."""
        return len(self._calls)

    @property
    def probe_delay(self) -> float:
        """Seconds until the next probe."""
        return PROBE_INTERVAL if self.is_up else min(MAX_BACKOFF, INITIAL_BACKOFF * 2 ** min(self._failures, 8))

    async def infer(
        self,
        model: str,
        inputs: list[InferInput],
        parameters: dict[str, Any] | None = None,
        deadline: Deadline | None = None,
    ) -> Any:
        """Triton's answer. Raises EngineError; after EngineUnavailable the endpoint is down."""
        try:
            timeout = None if deadline is None else deadline.remaining()
            with round_trip() as headers:
                call = self._client.infer(model, inputs, parameters=parameters, headers=headers)
                return await asyncio.wait_for(self._detached(call, model), timeout)
        except asyncio.TimeoutError as error:
            late = EngineTimeout(f"the model {model!r} of Triton at {self.address} did not answer in time")
            late.model = model
            raise late from error
        except EngineUnavailable as error:
            self.eject(error)
            raise
        except EngineError as error:
            error.model = model
            raise

    async def check(self, model: str, inputs: list[InferInput]) -> Any:
        """Triton's answer to an inference of a verification, for which it has VERIFY_TIMEOUT, also to take a request
        out of a full queue. Raises EngineError.
        """
        deadline = Deadline.after(VERIFY_TIMEOUT)
        while True:
            try:
                return await self.infer(model, inputs, deadline=deadline)
            except EngineOverloaded:
                await asyncio.sleep(QUEUE_INTERVAL)

    async def query(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The answer to a call about the server itself. Raises EngineError, within PROBE_TIMEOUT."""
        try:
            return await getattr(self._client, method)(*arguments, **options, client_timeout=PROBE_TIMEOUT)
        except InferenceServerException as error:
            raise to_engine_error(error, self.address) from error

    async def config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as Triton's JSON writes it. Raises EngineError."""
        config: dict[str, Any] = (await self.query("get_model_config", model, as_json=True))["config"]
        return config

    async def probe(self) -> None:
        """Finds out whether the endpoint is up. Never raises. Only one probe may run at a time."""
        began, was_up = time.monotonic(), self.is_up
        try:
            await self._check()
        except EngineError as error:
            # what is slow, but has answered a call since the probe began, is busy rather than broken: the model that
            # the probe waited for, because another one may go on answering, or else the server
            answered = [at for model, at in self._answered_at.items() if error.model in (None, model)]
            is_busy = isinstance(error, EngineTimeout) and max(answered, default=-math.inf) >= began
            if not (self.is_up and is_busy):
                self.eject(error)
                self._failures += not was_up
        except Exception as error:
            logger.exception("Triton at %s could not be probed", self.address)
            self.eject(EngineFailure(f"Triton at {self.address} could not be probed: {error}"))
            self._failures += not was_up
        self.probed.set()

    def _connect(self) -> InferenceServerClient:
        options: list[tuple[str, int | str]] = [*_CHANNEL_ARGUMENTS, *proxy_options(self.address)]
        if self._credentials is None:
            return InferenceServerClient(self.address, channel_args=options)
        # the name was resolved already
        options.append(("grpc.ssl_target_name_override", self._host))
        return InferenceServerClient(self.address, ssl=True, creds=self._credentials, channel_args=options)

    async def _use_new_credentials(self) -> None:
        """Connects anew if the files of TLS have changed, unless a call uses the connection."""
        if self._tls is None or self._calls:
            return
        credentials = self._tls.credentials()
        if credentials is not self._credentials:
            self._credentials = credentials
            await self._client.close()
            self._client = self._connect()

    async def _check(self) -> None:
        if not self.is_up:
            await self._use_new_credentials()
        if not await self.query("is_server_ready"):
            raise EngineUnavailable(f"Triton at {self.address} is not ready")
        was_up = self.is_up
        if not was_up or time.monotonic() - self._verified_at >= VERIFY_INTERVAL:
            identity = await self._verify(self)
            self._verified_at = time.monotonic()
            if was_up == self.is_up:  # otherwise a call has failed since the probe began
                self.identity = identity
        if was_up:
            self._failures = 0  # only after the second success, so that a flapping server keeps its long delay
        elif self.is_up:
            logger.info("Triton at %s is ready", self.address)

    def eject(self, error: EngineError) -> None:
        """Takes the endpoint out of use until a probe succeeds. Pending results fail with EngineUnavailable at once."""
        if error is self.failure:
            return  # a call of the probe has already reported this very error
        is_news = self.is_up or type(error) is not type(self.failure)
        logger.log(logging.WARNING if is_news else logging.DEBUG, "taken out of use: %s", error)
        self.failure = error
        self._failures += self.is_up  # once, however many calls meet it
        self.identity = None
        for result in self._results:
            if not result.done():
                result.set_exception(EngineUnavailable(f"Triton at {self.address} went down: {error}"))

    async def close(self) -> None:
        """Waits up to CLOSE_TIMEOUT for calls in flight, then closes the connection."""
        self.identity = None
        self.probed.set()
        if self._calls:
            await asyncio.wait(self._calls, timeout=CLOSE_TIMEOUT)
        await self._client.close()

    def _detached(self, call: Awaitable[Any], model: str) -> asyncio.Future[Any]:
        """A future of the call's result. Cancelling it, or `eject`, does not cancel the call itself."""
        task, result = asyncio.ensure_future(call), asyncio.get_running_loop().create_future()
        self._calls.add(task)
        self._results.add(result)
        hold_during(task)
        task.add_done_callback(lambda _: self._settle(task, result, model))
        result.add_done_callback(self._results.discard)
        return result

    def _settle(self, task: asyncio.Future[Any], result: asyncio.Future[Any], model: str) -> None:
        self._calls.discard(task)
        error = EngineUnavailable("the connection was closed") if task.cancelled() else task.exception()
        if isinstance(error, InferenceServerException):
            error = to_engine_error(error, self.address)
        if error is None:  # Triton itself refuses what waits in a queue, whatever the model does
            self._answered_at[model] = time.monotonic()
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(task.result())


_CHANNEL_ARGUMENTS: Final[list[tuple[str, int | str]]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # reconnect to a restarted Triton within a second rather than two minutes, and wait no longer for a connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # do not share a connection with other clients of this process
    ("grpc.use_local_subchannel_pool", 1),
]

_UNAVAILABLE_MESSAGE: Final = re.compile(r"no available versions|[Ss]tub process .*(not healthy|unhealthy)")
"""What Triton answers while it stops, and once the process of a Python model has died."""


def to_engine_error(error: InferenceServerException, address: str) -> EngineError:
    """The engine's error for Triton's: by gRPC code, and by Triton's message where one code has several meanings."""
    status, message = error.status(), str(error.message())
    if status == str(grpc.StatusCode.DEADLINE_EXCEEDED) or "timeout expired" in message.lower():
        return EngineTimeout(f"Triton at {address} did not answer in time")
    if "maximum queue size" in message:
        return EngineOverloaded(f"Triton at {address} has a full queue")
    # calls are never cancelled here, so Triton itself has ended a cancelled one
    is_gone = status in (str(grpc.StatusCode.UNAVAILABLE), str(grpc.StatusCode.CANCELLED))
    if is_gone or _UNAVAILABLE_MESSAGE.search(message):
        return EngineUnavailable(f"Triton at {address} is unavailable: {message}{proxy_advice(address)}")
    return EngineFailure(f"Triton at {address} failed: {status} {message}")
