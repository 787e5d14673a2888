import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from service.triton_server import supervisor
from service.triton_server.process import EmbeddedTritonError
from service.triton_server.supervisor import TritonSupervisor

pytestmark = pytest.mark.anyio


class TritonDouble:
    """A server that runs until `die` is called, or that does not even start."""

    def __init__(self, number: int, starts: bool = True) -> None:
        self.url = f"127.0.0.1:{number}"
        self.starts = starts
        self.is_stopped = False
        self._dead = asyncio.Event()

    async def start(self) -> str:
        if not self.starts:
            raise EmbeddedTritonError("no room")
        return self.url

    async def wait(self) -> int:
        await self._dead.wait()
        return 137

    async def stop(self) -> None:
        self.is_stopped = True
        self._dead.set()

    def die(self) -> None:
        self._dead.set()


def supervised(made: list[TritonDouble], *starts: bool, initial_backoff: float = 0.0) -> TritonSupervisor:
    """Makes servers that start or do not, as listed, and appends them to `made`."""
    outcomes = iter(starts)

    def make() -> Any:
        made.append(TritonDouble(len(made) + 1, next(outcomes)))
        return made[-1]

    return TritonSupervisor(make, initial_backoff=initial_backoff, hang_timeout=0.0)


async def listens(triton: TritonSupervisor, number: int) -> None:
    """Waits until the server of this number is the current one."""

    async def wait() -> None:
        while list(await triton()) != [f"127.0.0.1:{number}"]:
            await asyncio.sleep(0)

    await asyncio.wait_for(wait(), 30)


async def test_a_server_that_dies_is_restarted_until_that_succeeds() -> None:
    made: list[TritonDouble] = []
    triton = supervised(made, True, False, False, True, True)
    assert list(await triton()) == []
    await triton.start()
    assert list(await triton()) == ["127.0.0.1:1"]
    made[0].die()
    await listens(triton, 4)
    made[3].die()
    await listens(triton, 5)
    await triton.stop()
    assert list(await triton()) == []
    await triton.stop()
    assert len(made) == 5
    assert all(server.is_stopped for server in made)


async def test_a_server_that_hangs_is_restarted_once_it_has_answered_before() -> None:
    made: list[TritonDouble] = []
    triton = supervised(made, True, True)
    answers = iter([False, True, False])  # not up yet, up, hung
    triton.set_health_probe(lambda: next(answers, False))
    await triton.start()
    await listens(triton, 2)
    assert made[0].is_stopped
    # the second has never answered, so it may still be starting
    assert next(answers, None) is None
    await asyncio.sleep(0)
    assert list(await triton()) == ["127.0.0.1:2"]
    await triton.stop()
    assert len(made) == 2


async def test_the_first_server_must_start() -> None:
    made: list[TritonDouble] = []
    triton = supervised(made, False)
    with pytest.raises(EmbeddedTritonError, match="no room"):
        await triton.start()
    await triton.stop()
    assert made[0].is_stopped


async def test_a_server_started_in_the_background_may_fail_at_first() -> None:
    made: list[TritonDouble] = []
    triton = supervised(made, True, False, False, True, True)
    triton.start_in_background()
    assert list(await triton()) == []
    await listens(triton, 4)
    made[3].die()
    await listens(triton, 5)
    await triton.stop()
    assert all(server.is_stopped for server in made)


async def test_stopping_during_restarts_ends_them() -> None:
    made: list[TritonDouble] = []
    triton = supervised(made, True, *[False] * 10_000)
    await triton.start()
    made[0].die()
    while len(made) < 3:
        await asyncio.sleep(0)
    await triton.stop()
    count = len(made)
    await asyncio.sleep(0)
    assert len(made) == count


class Clock:
    """Stands in for the clock and for sleep, whose delays it records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.delays: list[float] = []
        self._sleep = asyncio.sleep
        monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, delay: float) -> None:
        if delay > 0:
            self.delays.append(delay)
        await self._sleep(0)


async def test_the_delay_doubles_up_to_a_minute_until_a_server_has_run_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, made = Clock(monkeypatch), list[TritonDouble]()
    triton = supervised(made, True, *[True] * 12, initial_backoff=0.5)
    await triton.start()
    for number in range(1, 10):
        await listens(triton, number)
        await asyncio.sleep(0)  # the supervisor notes when this server began to run
        clock.now += 59.9
        made[-1].die()
    await listens(triton, 10)
    assert clock.delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    clock.delays.clear()
    await asyncio.sleep(0)
    clock.now += 60.0
    made[-1].die()
    await listens(triton, 11)
    assert clock.delays == [0.5]
    await triton.stop()
