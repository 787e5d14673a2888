"""Over real sockets, with doubles of Triton that fail as the real one was observed to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from landmarks_client.retry import RetryBudget
from service.deadline import Deadline
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton import endpoint as endpoint_module
from service.engines.triton.endpoint import Endpoint
from service.engines.triton.pool import EndpointPool
from tests.service.triton_double import TritonDouble, doubles, name_of, until, verify

pytestmark = pytest.mark.anyio

Verify = Callable[[Endpoint[str]], Awaitable[str]]
UNHEALTHY = "in ensemble 'landmarks', Stub process 'decode_0_0' is not healthy."
FULL = "Exceeds maximum queue size"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_INTERVAL", "INITIAL_BACKOFF", "MAX_BACKOFF"):
        monkeypatch.setattr(endpoint_module, name, 0.01)


@asynccontextmanager
async def pool_of(
    *servers: TritonDouble, verify: Verify = verify, budget: RetryBudget | None = None
) -> AsyncIterator[tuple[EndpointPool[str], list[str]]]:
    """The pool, started, and the reasons of its retries; "forgone" where the budget was spent."""
    retries: list[str] = []

    async def addresses() -> list[str]:
        return [server.address for server in servers]

    pool = EndpointPool(addresses, verify, retries.append, lambda: retries.append("forgone"), budget)
    try:
        await pool.start()
        yield pool, retries
    finally:
        await pool.close()


async def answered_by(pool: EndpointPool[str], count: int = 1) -> list[str]:
    """The names of the servers that answer so many requests, sent one after the other."""
    return [name_of(await pool.infer("m", [])) for _ in range(count)]


def up(pool: EndpointPool[str]) -> int:
    return len(pool.healthy())


async def test_requests_go_round_robin_and_to_the_least_busy() -> None:
    async with doubles("a", "b", "c") as (a, b, c), pool_of(a, b, c) as (pool, _):
        assert sorted(await answered_by(pool, 6)) == ["a", "a", "b", "b", "c", "c"]
        a.gate = asyncio.Event()
        calls = [asyncio.create_task(answered_by(pool)) for _ in range(3)]
        await a.arrived.wait()
        await until(lambda: sum(task.done() for task in calls) == 2)
        assert set(await answered_by(pool, 4)) == {"b", "c"}
        a.gate.set()
        await asyncio.gather(*calls)


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Server is stopping", "unavailable"),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'landmarks' has no available versions", "unavailable"),
        (grpc.StatusCode.CANCELLED, "", "unavailable"),
        (grpc.StatusCode.INTERNAL, UNHEALTHY, "unavailable"),
        (grpc.StatusCode.UNAVAILABLE, FULL, "overloaded"),
    ],
)
async def test_a_failed_call_is_retried_on_another(code: grpc.StatusCode, text: str, reason: str) -> None:
    async with doubles("a", "b") as (a, b), pool_of(a, b) as (pool, retries):
        a.failure = (code, text)
        assert await answered_by(pool, 2) == ["b", "b"]
        assert set(retries) == {reason}


async def test_an_invalid_request_is_not_retried() -> None:
    async with doubles("a", "b") as (a, b), pool_of(a, b) as (pool, retries):
        a.failure = b.failure = (grpc.StatusCode.INVALID_ARGUMENT, "topk must be a whole number")
        with pytest.raises(EngineFailure, match="topk must"):
            await pool.infer("m", [])
        assert len(a.requests) + len(b.requests) == 1
        assert retries == []
        assert up(pool) == 2


async def test_a_full_queue_everywhere_is_overload() -> None:
    async with doubles("a", "b") as (a, b), pool_of(a, b) as (pool, retries):
        a.failure = b.failure = (grpc.StatusCode.UNAVAILABLE, FULL)
        with pytest.raises(EngineOverloaded):
            await pool.infer("m", [])
        assert retries == ["overloaded"]
        assert up(pool) == 2


async def test_full_queues_are_asked_again_for_an_eighth_of_the_calls() -> None:
    """80 calls find both queues full: ten retries are there at the beginning, and each call earns an eighth."""
    clock = Clock()
    async with doubles("a", "b") as (a, b), pool_of(a, b, budget=RetryBudget(clock)) as (pool, retries):
        a.failure = b.failure = (grpc.StatusCode.UNAVAILABLE, FULL)
        for _ in range(80):
            with pytest.raises(EngineOverloaded):
                await pool.infer("m", [])
        # the first call finds the reserve full, so that it earns nothing
        assert (retries.count("overloaded"), retries.count("forgone")) == (19, 61)
        assert len(a.requests) + len(b.requests) == 80 + 19
        clock.now += 10.0  # half a retry each second
        retries.clear()
        for _ in range(5):
            with pytest.raises(EngineOverloaded):
                await pool.infer("m", [])
        assert retries == ["overloaded"] * 5


async def test_calls_of_an_endpoint_that_is_down_are_retried_without_a_budget() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    while budget.take() is not None:
        pass
    async with doubles("a", "b") as (a, b), pool_of(a, b, budget=budget) as (pool, retries):
        a.failure = (grpc.StatusCode.UNAVAILABLE, "Server is stopping")
        assert await answered_by(pool, 2) == ["b", "b"]
        assert set(retries) == {"unavailable"}  # once or twice: it may be used again between the two


async def test_a_request_is_sent_to_three_endpoints_at_most() -> None:
    async with doubles("a", "b", "c", "d") as servers, pool_of(*servers) as (pool, _):
        for server in servers:
            server.failure = (grpc.StatusCode.UNAVAILABLE, FULL)
        with pytest.raises(EngineOverloaded):
            await pool.infer("m", [])
        assert sorted(len(server.requests) for server in servers) == [0, 1, 1, 1]


async def test_an_endpoint_that_dies_loses_no_request_and_comes_back() -> None:
    async with doubles("a", "b") as (a, b), pool_of(a, b) as (pool, retries):
        a.gate = asyncio.Event()
        calls = [asyncio.create_task(answered_by(pool)) for _ in range(8)]
        await until(lambda: sum(task.done() for task in calls) == 4)
        await a.stop()
        assert [name for task in calls for name in await task] == ["b"] * 8
        assert retries == ["unavailable"] * 4
        assert up(pool) == 1
        a.gate = None
        await a.start()
        await until(lambda: up(pool) == 2)
        assert sorted(await answered_by(pool, 2)) == ["a", "b"]


async def test_without_any_endpoint_requests_fail_at_once_until_one_is_back() -> None:
    async with doubles("a") as (a,), pool_of(a) as (pool, _):
        await a.stop()
        with pytest.raises(EngineUnavailable):
            await pool.infer("m", [])
        with pytest.raises(EngineUnavailable, match="no Triton is available now"):
            await pool.infer("m", [])
        await a.start()
        await until(lambda: up(pool) == 1)
        assert await answered_by(pool) == ["a"]


async def test_requests_are_retried_when_their_endpoint_is_no_longer_ready() -> None:
    async with doubles("a", "b") as (a, b), pool_of(a, b) as (pool, retries):
        a.gate = asyncio.Event()
        calls = [asyncio.create_task(answered_by(pool)) for _ in range(2)]
        await a.arrived.wait()
        a.ready = False
        assert [name for task in calls for name in await task] == ["b", "b"]
        assert retries == ["unavailable"]
        a.ready = True
        await until(lambda: up(pool) == 2)
        a.gate.set()


async def test_an_endpoint_that_is_not_verified_gets_no_requests() -> None:
    wrong: set[str] = set()

    async def choosy(endpoint: Endpoint[str]) -> str:
        if endpoint.address in wrong:
            raise EngineFailure("wrong weights")
        return "right"

    async with doubles("a", "b") as (a, b):
        wrong.add(a.address)
        async with pool_of(a, b, verify=choosy) as (pool, _):
            assert await answered_by(pool, 3) == ["b", "b", "b"]
        with pytest.raises(EngineFailure, match="wrong weights"):
            async with pool_of(a, verify=choosy):
                pass


async def test_one_model_is_served_at_a_time_while_servers_are_replaced() -> None:
    models: dict[str, str] = {}

    async def by_address(endpoint: Endpoint[str]) -> str:
        return models[endpoint.address]

    async with doubles("old", "new") as (old, new):
        models.update({old.address: "1", new.address: "2"})
        async with pool_of(old, new, verify=by_address) as (pool, _):
            assert pool.identity == "1"
            assert await answered_by(pool, 3) == ["old", "old", "old"]
            await old.stop()
            await until(lambda: pool.identity == "2")
            assert await answered_by(pool, 2) == ["new", "new"]
            # a request that was prepared for the old model is not sent to the new one
            with pytest.raises(EngineUnavailable):
                await pool.infer("m", [], identity="1")
            await old.start()


async def test_addresses_come_and_go() -> None:
    async with doubles("a", "b") as (a, b):
        listed = [a.address]

        async def addresses() -> list[str]:
            if not listed:
                raise OSError("the name service does not answer")
            return listed

        pool = EndpointPool(addresses, verify)
        await pool.start()
        listed[:] = [a.address, b.address]
        await until(lambda: up(pool) == 2)
        a.gate = b.gate = asyncio.Event()
        calls = [asyncio.create_task(answered_by(pool)) for _ in range(2)]
        await asyncio.gather(a.arrived.wait(), b.arrived.wait())
        listed[:] = [b.address]
        await until(lambda: up(pool) == 1)
        a.gate.set()
        assert sorted([name for task in calls for name in await task]) == ["a", "b"]  # its call in flight is finished
        listed.clear()
        assert await answered_by(pool, 2) == ["b", "b"]
        await pool.close()
        await pool.close()


async def test_a_call_is_never_cancelled() -> None:
    """Neither by its caller's cancellation nor by a deadline, because releases of Triton crash on it."""
    async with doubles("a") as (a,), pool_of(a) as (pool, _):
        a.gate = asyncio.Event()
        with pytest.raises(EngineTimeout):
            await pool.infer("m", [], deadline=Deadline.after(0.05))
        a.arrived.clear()
        leaving = asyncio.create_task(pool.infer("m", []))
        await a.arrived.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert [server.in_flight for server in pool.healthy()] == [2]
        a.gate.set()
        await a.answered.wait()
        await until(lambda: [server.in_flight for server in pool.healthy()] == [0])


async def test_past_its_deadline_a_request_is_not_sent() -> None:
    async with doubles("a") as (a,), pool_of(a) as (pool, _):
        with pytest.raises(EngineTimeout):
            await pool.infer("m", [], deadline=Deadline.after(-1))
        assert a.requests == []
