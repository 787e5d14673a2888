import asyncio
import gc
from collections.abc import Sequence
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.deadline import Deadline
from service.engines.call_queue import CallQueue
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout

pytestmark = pytest.mark.anyio

caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Server:
    """Records its calls, and answers them when told to: an item by its double."""

    def __init__(self, max_batch: int = 8, max_calls: int = 1, max_waiting: int = 9) -> None:
        self.calls: list[tuple[str, list[int], Deadline | None]] = []
        self.callers: list[str] = []
        self.answers: list[asyncio.Future[None]] = []
        self.queue = CallQueue(
            "test",
            self._call,
            max_batch=lambda _: max_batch,
            max_calls=lambda: max_calls,
            max_waiting=lambda: max_waiting,
        )

    async def _call(self, key: str, items: Sequence[int], deadline: Deadline | None) -> list[int]:
        self.calls.append((key, list(items), deadline))
        self.callers.append(caller.get())
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]
        return [2 * item for item in items]

    def submit(self, *items: int, key: str = "a", deadline: Deadline | None = None) -> asyncio.Task[list[int]]:
        return asyncio.create_task(self.queue.submit(key, items, deadline))

    @property
    def batches(self) -> list[list[int]]:
        return [items for _, items, _ in self.calls]


async def settled() -> None:
    """Lets every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def answer_all(server: Server) -> None:
    """Answers calls until no further one is made."""
    await settled()
    while left := [answer for answer in server.answers if not answer.done()]:
        left[0].set_result(None)
        await settled()


async def test_what_arrives_during_a_call_makes_the_next_one() -> None:
    server = Server()
    first = server.submit(1)
    await settled()
    others = [server.submit(item) for item in (2, 3, 4)]
    await settled()
    assert server.batches == [[1]]
    await answer_all(server)
    assert server.batches == [[1], [2, 3, 4]]
    assert [await task for task in (first, *others)] == [[2], [4], [6], [8]]


async def test_a_request_of_one_does_not_wait_behind_one_of_hundreds() -> None:
    server = Server(max_batch=4)
    large = server.submit(*range(100, 400))
    await settled()
    small = server.submit(1)
    await settled()
    server.answers[0].set_result(None)
    await settled()
    server.answers[1].set_result(None)
    await settled()
    assert small.done()
    assert server.batches[:2] == [[100, 101, 102, 103], [104, 105, 1, 106]]
    await answer_all(server)
    assert await large == [2 * item for item in range(100, 400)]


async def test_requests_are_done_one_after_the_other_rather_than_all_at_the_end() -> None:
    server = Server(max_batch=8)
    tasks = [server.submit(-1), *(server.submit(*range(10 * i, 10 * i + 3)) for i in range(1, 5))]
    await answer_all(server)
    assert server.batches == [[-1], [10, 11, 12, 20, 21, 22, 30, 31], [32, 40, 41, 42]]
    await asyncio.gather(*tasks)


async def test_the_earliest_deadline_is_first() -> None:
    """Also of a request whose first call is done already, as before a second pass."""
    server = Server(max_batch=2)
    soon, late = Deadline.after(50), Deadline.after(60)
    tasks = [server.submit(0, deadline=soon)]
    await settled()
    tasks += [server.submit(item, deadline=late) for item in (1, 2)]
    tasks += [server.submit(3), server.submit(4, deadline=soon)]
    await answer_all(server)
    assert server.batches == [[0], [4, 1], [2, 3]]
    await asyncio.gather(*tasks)


async def test_crops_decoded_differently_are_not_in_one_call() -> None:
    server = Server()
    tasks = [server.submit(0), server.submit(1, key="a"), server.submit(2, key="b"), server.submit(3, key="a")]
    await answer_all(server)
    assert [(key, items) for key, items, _ in server.calls] == [("a", [0]), ("a", [1, 3]), ("b", [2])]
    assert await asyncio.gather(*tasks) == [[0], [2], [4], [6]]


async def test_as_many_calls_are_in_flight_as_allowed() -> None:
    server = Server(max_calls=2)
    tasks = [server.submit(item) for item in range(4)]
    await settled()
    assert server.batches == [[0], [1]]
    await answer_all(server)
    assert server.batches == [[0], [1], [2, 3]]
    await asyncio.gather(*tasks)


async def test_a_full_queue_refuses_at_once() -> None:
    server = Server(max_waiting=2)
    tasks = [server.submit(item) for item in range(3)]
    await settled()
    with pytest.raises(EngineOverloaded, match="2 requests are waiting"):
        await server.queue.submit("a", [9], None)
    await answer_all(server)
    assert await asyncio.gather(*tasks) == [[0], [2], [4]]


async def test_what_is_too_late_is_never_sent() -> None:
    server = Server()
    server.submit(1)
    await settled()
    with pytest.raises(EngineTimeout):
        await server.queue.submit("a", [2], Deadline.after(0.001))
    await answer_all(server)
    assert server.batches == [[1]]


async def test_a_deadline_that_has_passed_is_a_timeout() -> None:
    server = Server()
    with pytest.raises(EngineTimeout):
        await server.queue.submit("a", [2], Deadline.after(-1))
    await settled()
    assert server.calls == []


async def test_a_failure_that_nobody_waits_for_any_more_is_no_error_of_the_loop() -> None:
    server = Server()
    task = server.submit(1)
    await settled()
    server.answers[0].set_exception(EngineFailure("broken"))
    task.cancel()  # in the same turn of the loop
    await settled()
    assert task.done()
    gc.collect()  # a future that was never asked for its exception says so as it is deleted
    await settled()


async def test_a_cancelled_request_takes_no_further_part() -> None:
    server = Server(max_batch=2)
    gone = server.submit(1, 2, 3, 4)
    await settled()
    stays = server.submit(5)
    await settled()
    gone.cancel()
    await answer_all(server)
    assert server.batches == [[1, 2], [5]]
    assert await stays == [10]


async def test_a_call_lasts_until_the_latest_of_its_deadlines() -> None:
    server = Server()
    server.submit(0)
    await settled()
    soon, late = Deadline.after(100), Deadline.after(200)
    for deadlines in ((soon, late), (late, soon)):
        for deadline in deadlines:
            server.submit(1, deadline=deadline)
    server.submit(1, key="b", deadline=soon)
    server.submit(1, key="b", deadline=None)
    await answer_all(server)
    assert [deadline for _, _, deadline in server.calls] == [None, late, None]


async def test_a_failed_call_fails_its_requests_and_no_others() -> None:
    server = Server()
    first = server.submit(0)
    await settled()
    second = server.submit(1)
    server.answers[0].set_exception(EngineFailure("broken"))
    await answer_all(server)
    with pytest.raises(EngineFailure, match="broken"):
        await first
    assert await second == [2]


async def test_a_failed_call_ends_a_request_with_items_left() -> None:
    server = Server(max_batch=1)
    task = server.submit(1, 2, 3)
    await settled()
    server.answers[0].set_exception(EngineFailure("broken"))
    with pytest.raises(EngineFailure, match="broken"):
        await task
    await settled()
    other = server.submit(4)
    await answer_all(server)
    assert await other == [8]
    assert server.batches[-1] == [4]


async def test_nothing_to_do_makes_no_call() -> None:
    server = Server()
    assert await server.queue.submit("a", [], None) == []
    assert server.calls == []


async def test_a_call_is_made_in_the_context_of_its_first_request() -> None:
    server = Server()
    for name in ("one", "two", "three"):
        caller.set(name)
        server.submit(1)
    await answer_all(server)
    assert server.callers == ["one", "two"]


Request = tuple[str, list[int]]
requests = st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 999), max_size=9)), max_size=12)


@given(requests=requests, max_batch=st.integers(1, 5), max_calls=st.integers(1, 3))
def test_every_item_is_asked_once_and_answered_in_its_place(
    requests: list[Request], max_batch: int, max_calls: int
) -> None:
    async def run() -> None:
        server = Server(max_batch, max_calls, max_waiting=20)
        tasks = [server.submit(*items, key=key) for key, items in requests]
        await answer_all(server)
        assert [await task for task in tasks] == [[2 * item for item in items] for _, items in requests]
        assert all(1 <= len(items) <= max_batch for items in server.batches)
        for name in "ab":
            asked = sorted(item for key, items, _ in server.calls if key == name for item in items)
            assert asked == sorted(item for key, items in requests if key == name for item in items)

    asyncio.run(run())
