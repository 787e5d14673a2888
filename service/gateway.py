"""What both doors stand on: the pipeline, admission, readiness and the counting of requests."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from service.answer import Answer, ServedModel
from service.deadline import Deadline
from service.detectors.port import Detector
from service.engines.port import Engine, EngineOverloaded
from service.errors import ErrorKind, ServiceError, translate
from service.observability.metrics import Protocol
from service.observability.request_scope import Telemetry
from service.pipeline import Pipeline
from service.request import ImageRequest, Options

logger = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


IMAGES_AT_ONCE: Final = 4
"""Images of one batch that are worked on side by side: it takes one place among the requests in flight."""


class Gateway:
    """One for the process. Both doors call it from the same event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        readiness: Readiness,
        *,
        max_bytes: int,
        max_images: int,
        max_batch_bytes: int,
        max_in_flight: int,
        request_timeout: float,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.readiness = readiness
        self.telemetry = telemetry or Telemetry()
        self.metrics = self.telemetry.metrics
        self.metrics.in_flight_limit.set(max_in_flight)
        self.max_bytes = max_bytes
        self.max_batch_bytes = max_batch_bytes
        self._max_images = max_images
        self._max_in_flight = max_in_flight
        self._request_timeout = request_timeout
        self._in_flight = 0

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that a request may ask for."""
        return self.pipeline.models

    @contextmanager
    def admitted(self, protocol: Protocol, request_id: str, carrier: Mapping[str, str]) -> Iterator[None]:
        """A place for one request, from before its body is read until it is answered.

        `carrier`: the request's headers, names in lower case, among which may be a trace to continue. Raises
        ServiceError at once when no place is free, and for whatever goes wrong inside.
        """
        with self.telemetry.request(protocol, request_id, carrier) as scope:
            try:
                with self._place(protocol):
                    yield
                scope.code = "ok"
            except Exception as error:
                failure = _told(error, request_id)
                scope.code = failure.kind.value
                if isinstance(error, EngineOverloaded):
                    self.metrics.count_rejection(protocol, "queue")
                raise failure from error

    async def detect(self, data: bytes, options: Options, deadline: Deadline) -> Answer:
        """The faces of one encoded image, by `deadline`."""
        answer = await self.pipeline.detect(data, options, deadline)
        self.metrics.observe(answer)
        return answer

    async def detect_each(
        self, requests: Sequence[ImageRequest | ServiceError], request_id: str, deadline: Deadline
    ) -> list[Answer | ServiceError]:
        """Each image's own answer or failure. Raises ServiceError for a batch of no images, or of too many."""
        if not requests:
            raise ServiceError(ErrorKind.INVALID_REQUEST, "the batch has no image: send at least one")
        if len(requests) > self._max_images:
            raise ServiceError(
                ErrorKind.TOO_MANY_IMAGES,
                f"the batch has {len(requests)} images, at most {self._max_images} are answered: send them in parts",
            )
        turns = asyncio.Semaphore(IMAGES_AT_ONCE)

        async def answered(request: ImageRequest | ServiceError, identity: str) -> Answer | ServiceError:
            async with turns:
                outcome = await self._outcome(request, identity, deadline)
            self.metrics.images.labels(outcome.kind.value if isinstance(outcome, ServiceError) else "ok").inc()
            return outcome

        identities = part_ids(request_id, len(requests))
        return await asyncio.gather(*map(answered, requests, identities))

    async def _outcome(
        self, request: ImageRequest | ServiceError, request_id: str, deadline: Deadline
    ) -> Answer | ServiceError:
        if isinstance(request, ServiceError):
            return request
        try:
            return await self.detect(*request, deadline)
        except Exception as error:
            return _told(error, request_id)

    def deadline(self, asked: float | None) -> Deadline:
        """The deadline of a request whose client allows `asked` seconds; the service allows `request_timeout`."""
        return Deadline.after(self._request_timeout if asked is None else min(asked, self._request_timeout))

    @contextmanager
    def _place(self, protocol: Protocol) -> Iterator[None]:
        if self._in_flight >= self._max_in_flight:
            self.metrics.count_rejection(protocol, "in_flight")
            raise ServiceError(
                ErrorKind.OVERLOADED, f"{self._in_flight} requests are in flight already; try again after a moment"
            )
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)


class Readiness:
    """Whether engine and detector answer, asked at most once in `max_age` seconds however many probes come."""

    def __init__(self, engine: Engine, detector: Detector, max_age: float = 1.0) -> None:
        self._engine = engine
        self._detector = detector
        self._max_age = max_age
        self._asked = -math.inf
        self._ready = False
        self._stopping = False
        self._lock = asyncio.Lock()

    async def check(self) -> bool:
        async with self._lock:
            if time.monotonic() - self._asked >= self._max_age:
                self._ready = await self._engine.ready() and await self._detector.ready()
                self._asked = time.monotonic()
        return self._ready and not self._stopping

    @property
    def stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Not ready from now on: the service is shutting down."""
        self._stopping = True


def _told(error: Exception, request_id: str) -> ServiceError:
    """What a client is told of an error; of a fault of the service's own the log is told more."""
    failure = translate(error)
    if failure.kind is ErrorKind.INTERNAL:
        logger.error("request %s failed", request_id, exc_info=error)
    # errors and frames refer to each other: the frames' pictures would stay until the garbage collector comes by
    traceback.clear_frames(error.__traceback__)
    return failure


def part_ids(request_id: str, count: int) -> list[str]:
    """The ids of a batch's images."""
    return [f"{request_id}/{number}" for number in range(count)]


def request_id(given: str | None) -> str:
    """The client's own id where it is at most 128 plain characters, else a new one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def parse_timeout(text: str) -> float:
    """Seconds, positive: the header X-Request-Timeout. Raises ServiceError of kind INVALID_REQUEST."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ServiceError(
            ErrorKind.INVALID_REQUEST, "X-Request-Timeout, the timeout, must be a positive number of seconds"
        )
    return seconds
