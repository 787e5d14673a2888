"""A canary: a candidate model answers a share of the requests, and the primary model answers when it fails.

::

    the request names a model that only one arm serves  -->  that arm
    it names none, or one that both serve               -->  by the share: the candidate, then the primary if that
                                                             fails; or the primary alone
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from service.answer import Region, Role, ServedModel
from service.deadline import Deadline
from service.engines.port import Engine, EngineError, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.errors import ErrorKind, ServiceError
from service.images.decode import DecodedImage
from service.landmarker import Landmarker, Prediction, unknown_model_message
from service.request import Options

logger = logging.getLogger(__name__)

MIN_BACKOFF: Final = 1.0
MAX_BACKOFF: Final = 8.0
"""Seconds between two attempts to start the candidate: the first pause, doubled after each failure up to the last."""

FallbackReason = Literal["unavailable", "overloaded", "failure"]


class Arm(NamedTuple):
    """One of the two models, and the part that it plays."""

    role: Role
    landmarker: Landmarker


class Canary:
    """The landmarker of a primary and a candidate. The candidate gets requests once `bring_up` has started it."""

    def __init__(
        self,
        primary: Landmarker,
        candidate: Landmarker,
        share: Callable[[], float],
        on_fallback: Callable[[FallbackReason], None] = lambda _: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`share`: of the requests, in [0, 1], for the candidate. `on_fallback`: called with the reason whenever the
        primary answers in the candidate's place. `draw`: a random number in [0, 1).
        """
        self._primary = Arm("primary", primary)
        self._candidate = Arm("candidate", candidate)
        self._share = share
        self._on_fallback = on_fallback
        self._draw = draw
        self._is_up = False

    async def bring_up(self, engine: Engine) -> None:
        """Starts the candidate's engine. Returns once it has answered its golden crop, and retries until then."""
        pause = MIN_BACKOFF
        while (problem := await _start(engine)) is not None:
            logger.log(
                logging.WARNING if pause == MIN_BACKOFF else logging.DEBUG, "the candidate is not up yet: %s", problem
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_BACKOFF)
        self._is_up = True
        logger.info("the candidate %s is up", engine.model.provenance)
        layouts = [model.metadata.layout for model in self.models]
        if layouts[0] != layouts[-1]:
            logger.warning(
                "the candidate has the layout %s and the primary %s: the two are not compared",
                layouts[-1].name,
                layouts[0].name,
            )

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return tuple(model for arm in self._arms() for model in arm.landmarker.models)

    def model_for(self, name: str | None) -> ServedModel:
        return self._arms_for(name)[0].landmarker.model_for(name)

    async def faces(
        self, image: DecodedImage, regions: Sequence[Region], options: Options, deadline: Deadline
    ) -> Prediction:
        """Raises what the last of the arms raises; EngineTimeout at once, because the deadline is the request's."""
        route = self.route(options.model)
        return await self.run_with_fallback(route, lambda each: each.faces(image, regions, options, deadline))

    def route(self, name: str | None) -> tuple[Arm, ...]:
        """The arms that a request for the model `name` goes to, each if those before it fail. Raises ServiceError."""
        arms = self._arms_for(name)
        if len(arms) == 1:
            return arms
        primary, candidate = arms
        return (candidate, primary) if self._draw() < self._share() else (primary,)

    async def run_with_fallback(
        self, route: Sequence[Arm], predict: Callable[[Landmarker], Awaitable[Prediction]]
    ) -> Prediction:
        """The prediction of the first arm of `route` that does not fail."""
        for arm in route[:-1]:
            try:
                return replace(await predict(arm.landmarker), role=arm.role)
            except EngineTimeout:
                raise
            except EngineError as error:
                reason = _reason(error)
                self._on_fallback(reason)
                level = logging.ERROR if reason == "failure" else logging.DEBUG
                logger.log(level, "the candidate failed, the primary answers: %s", error)
        last = route[-1]
        return replace(await predict(last.landmarker), role=last.role, is_fallback=len(route) > 1)

    def counterpart(self, prediction: Prediction) -> Landmarker | None:
        """The landmarker to compare a prediction with, if there is one.

        There is none while the candidate is not up, when it has just failed, or where its layout is another one.
        """
        other = next((arm.landmarker for arm in self._arms() if arm.role != prediction.role), None)
        if other is None or prediction.is_fallback:
            return None
        return other if other.models[0].metadata.layout == prediction.model.metadata.layout else None

    def _arms(self) -> tuple[Arm, ...]:
        return (self._primary, self._candidate) if self._is_up else (self._primary,)

    def _arms_for(self, name: str | None) -> tuple[Arm, ...]:
        """The arms that may answer a request for the model `name`, the primary first. Raises ServiceError."""
        arms = self._arms()
        fitting = tuple(arm for arm in arms if name is None or name in (model.name for model in arm.landmarker.models))
        if fitting:
            return fitting
        message = unknown_model_message(name, self.models)
        if not self._is_up:  # the candidate's name is not known yet
            raise ServiceError(ErrorKind.UNAVAILABLE, f"{message}, and a candidate that is not up yet")
        raise ServiceError(ErrorKind.UNKNOWN_MODEL, message)


async def _start(engine: Engine) -> EngineError | None:
    """The reason why the engine is not ready; None once it is."""
    try:
        await engine.start()
    except EngineError as error:
        return error
    return None if await engine.ready() else EngineUnavailable("its golden crop is not answered correctly")


def _reason(error: EngineError) -> FallbackReason:
    if isinstance(error, EngineUnavailable):
        return "unavailable"
    return "overloaded" if isinstance(error, EngineOverloaded) else "failure"
