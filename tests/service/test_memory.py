"""The budget of memory: what is held, who waits, and what outlives a request."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from service.bootstrap import memory_budget
from service.errors import ErrorKind, ServiceError
from service.memory import BODY_COPIES, ImageHold, MemoryBudget, hold_during
from service.settings import Settings

pytestmark = pytest.mark.anyio


def test_bodies_have_a_third_and_one_peer_its_share_of_that() -> None:
    budget = MemoryBudget(600, peer_share=0.5)
    first, again, other = budget.body("a"), budget.body("a"), budget.body("b")
    first.add(60)
    again.add(40)
    with pytest.raises(ServiceError) as caught:
        again.add(1)
    assert caught.value.kind is ErrorKind.OVERLOADED
    other.add(100)
    with pytest.raises(ServiceError):
        budget.body("c").add(1)
    first.change_to(10)
    again.change_to(90)
    with pytest.raises(ServiceError):
        first.change_to(11)
    assert (first.size, again.size) == (10, 90)
    for each in (first, again, other, other):
        each.release()
    assert budget.body_bytes == 0
    assert budget.largest_body == 100 // BODY_COPIES


async def test_images_wait_in_their_order_and_one_that_never_fits_is_refused_at_once() -> None:
    budget = MemoryBudget(150)
    assert budget.images == 100
    first = await budget.take_image(60, 60)
    waiting = [asyncio.create_task(budget.take_image(size, 60)) for size in (50, 30)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)  # nor the small one, before the one that waits longer
    with pytest.raises(ServiceError, match="MiB") as caught:
        await budget.take_image(101, 60)
    assert caught.value.kind is ErrorKind.TOO_MANY_PIXELS
    release(first)
    for hold in await asyncio.gather(*waiting):
        release(hold)
    assert budget.image_bytes == 0


async def test_an_image_that_waits_in_vain_is_refused_and_those_behind_it_get_their_turn() -> None:
    budget = MemoryBudget(150)
    first = await budget.take_image(60, 60)
    with pytest.raises(ServiceError) as caught:
        await budget.take_image(50, 0.001)
    assert caught.value.kind is ErrorKind.OVERLOADED
    gone = asyncio.create_task(budget.take_image(50, 60))
    behind = asyncio.create_task(budget.take_image(40, 60))
    await asyncio.sleep(0)
    gone.cancel()
    release(await behind)
    release(first)
    assert budget.image_bytes == 0


async def test_an_image_whose_turn_comes_as_its_request_ends_holds_nothing() -> None:
    budget = MemoryBudget(150)
    first = await budget.take_image(100, 60)
    waiting = asyncio.create_task(budget.take_image(100, 60))
    await asyncio.sleep(0)
    release(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.image_bytes == 0


async def test_work_that_outlives_its_request_holds_the_bytes() -> None:
    budget, thread = MemoryBudget(150), Future[None]()
    with (await budget.take_image(100, 60)).during_request():
        hold_during(thread)
    assert budget.image_bytes == 100
    thread.set_result(None)
    await asyncio.sleep(0)
    assert budget.image_bytes == 0
    hold_during(thread)  # outside of a request there is nothing to hold


@pytest.mark.parametrize(("connections", "share"), [(10, 0.5), (700, 0.7), (5000, 1.0)])
def test_a_peer_may_fill_at_least_half_of_the_bodies_memory(connections: int, share: float) -> None:
    budget = memory_budget(Settings(max_memory=2**30, max_connections=1000, max_connections_per_peer=connections))
    assert (budget.total, budget.peer_share) == (2**30, share)


def test_without_a_setting_the_machine_says_how_much_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.bootstrap.request_memory", lambda: 12345)
    assert memory_budget(Settings()).total == 12345


def release(hold: ImageHold) -> None:
    with hold.during_request():
        pass
