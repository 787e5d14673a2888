import asyncio
from typing import Any

import pytest

from service.triton_server.process import EmbeddedTritonError
from service.triton_server.supervisor import KeptTriton


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


def kept(made: list[TritonDouble], *starts: bool) -> KeptTriton:
    """Makes servers that start, or do not, as told; `made` gets them."""
    fates = iter(starts)

    def make() -> Any:
        made.append(TritonDouble(len(made) + 1, next(fates)))
        return made[-1]

    return KeptTriton(make, first_pause=0.0, longest_silence=0.0)


async def address(triton: KeptTriton, number: int) -> None:
    """Waits until it listens there."""
    while list(await triton()) != [f"127.0.0.1:{number}"]:
        await asyncio.sleep(0)


def test_one_that_dies_is_started_again_until_that_succeeds() -> None:
    async def run() -> list[TritonDouble]:
        made: list[TritonDouble] = []
        triton = kept(made, True, False, False, True, True)
        assert list(await triton()) == []
        await triton.start()
        assert list(await triton()) == ["127.0.0.1:1"]
        made[0].die()
        await asyncio.wait_for(address(triton, 4), 30)
        made[3].die()
        await asyncio.wait_for(address(triton, 5), 30)
        await triton.stop()
        assert list(await triton()) == []
        await triton.stop()
        return made

    made = asyncio.run(run())
    assert len(made) == 5
    assert all(server.is_stopped for server in made)


def test_one_that_hangs_is_started_again_once_it_has_answered_before() -> None:
    async def run() -> list[TritonDouble]:
        made: list[TritonDouble] = []
        triton = kept(made, True, True)
        looks = iter([False, True, False])  # not up yet, up, hung
        triton.heed(lambda: next(looks, False))
        await triton.start()
        await asyncio.wait_for(address(triton, 2), 30)
        assert made[0].is_stopped
        # the second has never answered: it is given its time
        assert next(looks, None) is None
        await asyncio.sleep(0)
        assert list(await triton()) == ["127.0.0.1:2"]
        await triton.stop()
        return made

    assert len(asyncio.run(run())) == 2


def test_the_first_must_start() -> None:
    async def run() -> None:
        made: list[TritonDouble] = []
        triton = kept(made, False)
        with pytest.raises(EmbeddedTritonError, match="no room"):
            await triton.start()
        await triton.stop()
        assert made[0].is_stopped

    asyncio.run(run())


def test_one_that_is_only_begun_may_fail_at_first() -> None:
    async def run() -> list[TritonDouble]:
        made: list[TritonDouble] = []
        triton = kept(made, True, False, False, True, True)
        triton.begin()
        assert list(await triton()) == []
        await asyncio.wait_for(address(triton, 4), 30)
        made[3].die()
        await asyncio.wait_for(address(triton, 5), 30)
        await triton.stop()
        return made

    assert all(server.is_stopped for server in asyncio.run(run()))


def test_stopping_while_it_is_started_again_ends_that() -> None:
    async def run() -> int:
        made: list[TritonDouble] = []
        triton = kept(made, True, *[False] * 10_000)
        await triton.start()
        made[0].die()
        while len(made) < 3:
            await asyncio.sleep(0)
        await triton.stop()
        count = len(made)
        await asyncio.sleep(0)
        return len(made) - count

    assert asyncio.run(run()) == 0
