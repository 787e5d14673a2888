"""Which model answers: the one that serves, or a candidate beside it that is given a share of the requests.

::

    a name that only one of them bears  -->  that one
    no name, or one that both bear      -->  by the share: the candidate, and the primary should it fail; or the primary
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from service.answer import Role, ServedModel
from service.engines.port import Engine, EngineError, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.errors import ErrorKind, ServiceError

logger = logging.getLogger(__name__)

FOLLOW_SECONDS: Final = 1.0
"""How often the file with the share is looked at."""
LONGEST_PAUSE: Final = 8.0
"""Seconds between attempts to bring the candidate up: one at first, doubled up to this."""

Reason = Literal["unavailable", "overloaded", "failure"]
T = TypeVar("T")


class Variant(NamedTuple):
    """A model that may answer."""

    role: Role
    engine: Engine
    model: ServedModel


class Share:
    """A share of the requests, in [0, 1]: a number, or what a file says now."""

    def __init__(self, first: float, path: Path | None = None) -> None:
        """`first`: what holds until the file, where there is one, says something else."""
        self._value = first
        self._path = path
        self._problem = ""
        self.look()

    def __call__(self) -> float:
        return self._value

    def look(self) -> None:
        """Reads the file. What cannot be used leaves the share as it was, and is logged once."""
        if self._path is None:
            return
        try:
            value = parse_share(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if str(error) != self._problem:
                logger.error("the candidate's share stays %g: %s: %s", self._value, self._path, error)
            self._problem = str(error)
            return
        if value != self._value:
            logger.warning("the candidate's share is now %g, was %g", value, self._value)
        self._value, self._problem = value, ""

    async def follow(self) -> None:
        """Looks again and again: by path, as a mounted ConfigMap is replaced by another file."""
        while self._path is not None:
            await asyncio.sleep(FOLLOW_SECONDS)
            await asyncio.to_thread(self.look)


def parse_share(text: str) -> float:
    """A number in [0, 1]. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{text.strip()[:40]!r} is not a number from 0 to 1")
    return value


class Rollout:
    """The model that serves, and the candidate, if there is one and once it is up. One for the process."""

    def __init__(
        self,
        primary: Engine,
        candidate: Engine | None = None,
        share: Callable[[], float] = lambda: 0.0,
        on_fallback: Callable[[Reason], None] = lambda _: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`primary`: started. `candidate`: for `bring_up` to start. `on_fallback`: told why, whenever the primary
        answers in the candidate's place. `draw`: a random number in [0, 1).
        """
        self._primary = primary
        self._candidate = candidate
        self._share = share
        self._on_fallback = on_fallback
        self._draw = draw
        self._is_known = False

    async def bring_up(self) -> None:
        """Tries until the candidate has answered its golden crop. Requests do without it meanwhile."""
        pause = 1.0
        while self._candidate is not None and not self._is_known:
            problem = await _start(self._candidate)
            if problem is None:
                self._is_known = True
                logger.info("the candidate %s is up", self._candidate.model.provenance)
            else:
                logger.log(logging.WARNING if pause == 1.0 else logging.DEBUG, "no candidate yet: %s", problem)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """What a request may name, the primary's first."""
        return tuple(variant.model for variant in self._variants())

    def order(self, name: str | None) -> tuple[Variant, ...]:
        """Who is asked for a request that names this model, each should the one before it fail. Raises ServiceError."""
        variants = self._variants()
        fitting = tuple(variant for variant in variants if name in (None, variant.model.name))
        if not fitting:
            raise self._unknown(name or "", variants)
        if len(fitting) == 1:
            return fitting
        primary, candidate = fitting
        return (candidate, primary) if self._draw() < self._share() else (primary,)

    def other(self, variant: Variant) -> Variant | None:
        """The one that `variant` can be compared with."""
        return next((each for each in self._variants() if each.role != variant.role), None)

    async def answered(self, order: tuple[Variant, ...], work: Callable[[Variant], Awaitable[T]]) -> tuple[Variant, T]:
        """The result of `work`, and whose it is. Raises what the last of them raises; EngineTimeout at once, as the
        request's own time is over then.
        """
        for variant in order[:-1]:
            try:
                return variant, await work(variant)
            except EngineTimeout:
                raise
            except EngineError as error:
                reason = _reason(error)
                self._on_fallback(reason)
                logger.log(logging.ERROR if reason == "failure" else logging.DEBUG, "the primary answers: %s", error)
        return order[-1], await work(order[-1])

    def _variants(self) -> tuple[Variant, ...]:
        primary = Variant("primary", self._primary, self._primary.model)
        if self._candidate is None or not self._is_known:
            return (primary,)
        return primary, Variant("candidate", self._candidate, self._candidate.model)

    def _unknown(self, name: str, variants: tuple[Variant, ...]) -> ServiceError:
        there = " and ".join(repr(variant.model.name) for variant in variants)
        message = f"no model {name[:40]!r} is served; there is {there}"
        if self._candidate is not None and not self._is_known:  # whose name nobody knows yet
            return ServiceError(ErrorKind.UNAVAILABLE, f"{message}, and a candidate that is not up yet")
        return ServiceError(ErrorKind.UNKNOWN_MODEL, message)


async def _start(engine: Engine) -> EngineError | None:
    """Why the engine is not ready."""
    try:
        await engine.start()
    except EngineError as error:
        return error
    return None if await engine.ready() else EngineUnavailable("its golden crop is not answered rightly")


def _reason(error: EngineError) -> Reason:
    if isinstance(error, EngineUnavailable):
        return "unavailable"
    return "overloaded" if isinstance(error, EngineOverloaded) else "failure"
