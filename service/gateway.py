"""What both APIs call: admission and counting of requests, single images and batches."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from service.answer import Answer, ServedModel
from service.deadline import Deadline
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind, ServiceError, translate
from service.images.raw import RawImage
from service.memory import MemoryBudget
from service.observability.metrics import ApiProtocol
from service.observability.request_scope import Telemetry, current
from service.pipeline import Look, Pipeline
from service.readiness import Readiness
from service.request import ImageRequest, Options
from service.request_ids import image_ids

logger = logging.getLogger(__name__)

MAX_CONCURRENT_IMAGES: Final = 4
"""Images of one batch that are processed at a time. A batch counts as one request in flight.

No setting: `max_in_flight` and the engine's queue bound the load. This only keeps a single batch from
filling that queue.
"""


class Gateway:
    """The use case as both APIs call it: admits requests, gives deadlines, runs single images and batches, counts them.

    A process has one gateway, and both APIs call it from the same event loop.
    """

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
        memory: MemoryBudget | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """The limits are settings of the same names, described in `service.settings`; bodies that the budget `memory`
        could never hold are refused as too large. None sets no limit.
        """
        self.memory = memory or MemoryBudget()
        self.pipeline = pipeline
        self.readiness = readiness
        self.telemetry = telemetry or Telemetry()
        self.metrics = self.telemetry.metrics
        self.metrics.in_flight_limit.set(max_in_flight)
        self.max_bytes = min(max_bytes, self.memory.largest_body)
        self.max_batch_bytes = min(max_batch_bytes, self.memory.largest_body)
        self.max_images = max_images
        self._max_in_flight = max_in_flight
        self._request_timeout = request_timeout
        self._in_flight = 0

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models that a request may name, the primary first."""
        return self.pipeline.models

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a request that begins now. `timeout`: seconds that its client allows, if it says so."""
        return Deadline.after(self._request_timeout if timeout is None else min(timeout, self._request_timeout))

    @contextmanager
    def admitted(self, protocol: ApiProtocol, request_id: str, headers: Mapping[str, str]) -> Iterator[None]:
        """One request that was received as a whole, until it is answered: `observed`, and in a slot.

        Raises as both of them do.
        """
        with self.observed(protocol, request_id, headers), self.slot(protocol):
            yield

    @contextmanager
    def observed(self, protocol: ApiProtocol, request_id: str, headers: Mapping[str, str]) -> Iterator[None]:
        """One request until it is answered: counted, traced and logged. Raises ServiceError for every error inside.

        `headers`: those of the request, names in lower case, which may hold a trace to continue.
        """
        with self.telemetry.request(protocol, request_id, headers) as scope:
            try:
                yield
                scope.code = "ok"
            except Exception as error:
                failure = self._count_and_translate(error, request_id)
                scope.code = failure.kind.value
                raise failure from error

    def refuse_if_full(self, protocol: ApiProtocol) -> None:
        """Raises ServiceError of kind OVERLOADED while as many requests are in flight as may be.

        Before a body is received, so that none is sent in vain; without a slot, which a slow client would hold.
        """
        if self._in_flight >= self._max_in_flight:
            self.metrics.count_rejection(protocol, "in_flight")
            raise ServiceError(
                ErrorKind.OVERLOADED, f"{self._in_flight} requests are in flight already; try again after a moment"
            )

    @contextmanager
    def slot(self, protocol: ApiProtocol) -> Iterator[None]:
        """A slot for a request that was received as a whole. Raises as `refuse_if_full` does."""
        self.refuse_if_full(protocol)
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)

    async def detect(
        self, data: bytes | RawImage, options: Options, deadline: Deadline, look: Look | None = None
    ) -> Answer:
        """The faces of one image. Raises as `Pipeline.detect` does."""
        answer = await self.pipeline.detect(data, options, deadline, look)
        self.metrics.observe(answer)
        return answer

    async def detect_batch(
        self, requests: Sequence[ImageRequest | ServiceError], request_id: str, deadline: Deadline
    ) -> list[Answer | ServiceError]:
        """An answer or an error for each image, in their order. A request that could not be read is an error already.

        Raises ServiceError of kind INVALID_REQUEST for a batch without images, and of kind TOO_MANY_IMAGES.
        """
        if not requests:
            raise ServiceError(ErrorKind.INVALID_REQUEST, "the batch has no image: send at least one")
        if len(requests) > self.max_images:
            raise ServiceError(
                ErrorKind.TOO_MANY_IMAGES,
                f"the batch has {len(requests)} images, at most {self.max_images} are answered: send them in parts",
            )
        image_semaphore = asyncio.Semaphore(MAX_CONCURRENT_IMAGES)

        async def answer_and_count(request: ImageRequest | ServiceError, image_id: str) -> Answer | ServiceError:
            async with image_semaphore:
                result = await self._answer_or_error(request, image_id, deadline)
            self.metrics.images.labels(result.kind.value if isinstance(result, ServiceError) else "ok").inc()
            return result

        return await asyncio.gather(*map(answer_and_count, requests, image_ids(request_id, len(requests))))

    async def _answer_or_error(
        self, request: ImageRequest | ServiceError, image_id: str, deadline: Deadline
    ) -> Answer | ServiceError:
        if isinstance(request, ServiceError):
            return request
        try:
            return await self.detect(*request, deadline)
        except Exception as error:
            return self._count_and_translate(error, image_id)

    def _count_and_translate(self, error: Exception, request_id: str) -> ServiceError:
        """The error that a client is sent. A full queue of the engine is counted as a rejection of the request."""
        scope = current()
        if scope and isinstance(error, EngineOverloaded):
            self.metrics.count_rejection(scope.protocol, "queue")
        return to_service_error(error, request_id)


def to_service_error(error: Exception, request_id: str) -> ServiceError:
    """The error that a client is sent for `error`. An internal error is logged with its cause."""
    failure = translate(error)
    if failure.kind is ErrorKind.INTERNAL:
        logger.error("request %s failed", request_id, exc_info=error)
    # the traceback's frames hold the decoded image, in a cycle with the error that only the garbage collector breaks
    traceback.clear_frames(error.__traceback__)
    return failure
