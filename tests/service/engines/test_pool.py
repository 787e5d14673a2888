"""Over real sockets, with doubles of Triton that fail as the real one was seen to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from service.deadline import Deadline
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton import endpoint as endpoint_module
from service.engines.triton.endpoint import Endpoint
from service.engines.triton.pool import Fleet
from tests.service.triton_double import TritonDouble, doubles, name_of, prove, until

Prove = Callable[[Endpoint[str]], Awaitable[str]]
UNHEALTHY = "in ensemble 'landmarks', Stub process 'decode_0_0' is not healthy."
FULL = "Exceeds maximum queue size"


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_SECONDS", "FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(endpoint_module, name, 0.01)


@asynccontextmanager
async def fleet_of(*servers: TritonDouble, prove: Prove = prove) -> AsyncIterator[tuple[Fleet[str], list[str]]]:
    """The fleet, started, and the reasons of its retries."""
    retries: list[str] = []

    async def addresses() -> list[str]:
        return [server.address for server in servers]

    fleet = Fleet(addresses, prove, retries.append)
    try:
        await fleet.start()
        yield fleet, retries
    finally:
        await fleet.close()


async def asked(fleet: Fleet[str], count: int = 1) -> list[str]:
    """Who answered so many requests, one after the other."""
    return [name_of(await fleet.infer("m", [])) for _ in range(count)]


def up(fleet: Fleet[str]) -> int:
    return len(fleet.serving())


def test_requests_take_turns_and_go_where_least_is_in_flight() -> None:
    async def run() -> None:
        async with doubles("a", "b", "c") as (a, b, c), fleet_of(a, b, c) as (fleet, _):
            assert sorted(await asked(fleet, 6)) == ["a", "a", "b", "b", "c", "c"]
            a.gate = asyncio.Event()
            held = [asyncio.create_task(asked(fleet)) for _ in range(3)]
            await a.arrived.wait()
            await until(lambda: sum(task.done() for task in held) == 2)
            assert set(await asked(fleet, 4)) == {"b", "c"}
            a.gate.set()
            await asyncio.gather(*held)

    asyncio.run(run())


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
def test_another_is_asked_instead(code: grpc.StatusCode, text: str, reason: str) -> None:
    async def run() -> None:
        async with doubles("a", "b") as (a, b), fleet_of(a, b) as (fleet, retries):
            a.failure = (code, text)
            assert await asked(fleet, 2) == ["b", "b"]
            assert set(retries) == {reason}

    asyncio.run(run())


def test_a_request_that_is_wrong_is_not_repeated() -> None:
    async def run() -> None:
        async with doubles("a", "b") as (a, b), fleet_of(a, b) as (fleet, retries):
            a.failure = b.failure = (grpc.StatusCode.INVALID_ARGUMENT, "topk must be a whole number")
            with pytest.raises(EngineFailure, match="topk must"):
                await fleet.infer("m", [])
            assert len(a.requests) + len(b.requests) == 1
            assert retries == []
            assert up(fleet) == 2

    asyncio.run(run())


def test_all_are_full() -> None:
    async def run() -> None:
        async with doubles("a", "b") as (a, b), fleet_of(a, b) as (fleet, retries):
            a.failure = b.failure = (grpc.StatusCode.UNAVAILABLE, FULL)
            with pytest.raises(EngineOverloaded):
                await fleet.infer("m", [])
            assert retries == ["overloaded"]
            assert up(fleet) == 2

    asyncio.run(run())


def test_a_request_is_sent_to_three_endpoints_at_most() -> None:
    async def run() -> None:
        async with doubles("a", "b", "c", "d") as servers, fleet_of(*servers) as (fleet, _):
            for server in servers:
                server.failure = (grpc.StatusCode.UNAVAILABLE, FULL)
            with pytest.raises(EngineOverloaded):
                await fleet.infer("m", [])
            assert sorted(len(server.requests) for server in servers) == [0, 1, 1, 1]

    asyncio.run(run())


def test_one_that_dies_loses_no_request_and_comes_back() -> None:
    async def run() -> None:
        async with doubles("a", "b") as (a, b), fleet_of(a, b) as (fleet, retries):
            a.gate = asyncio.Event()
            held = [asyncio.create_task(asked(fleet)) for _ in range(8)]
            await until(lambda: sum(task.done() for task in held) == 4)
            await a.stop()
            assert [name for task in held for name in await task] == ["b"] * 8
            assert retries == ["unavailable"] * 4
            assert up(fleet) == 1
            a.gate = None
            await a.start()
            await until(lambda: up(fleet) == 2)
            assert sorted(await asked(fleet, 2)) == ["a", "b"]

    asyncio.run(run())


def test_none_left_is_told_at_once_until_one_is_back() -> None:
    async def run() -> None:
        async with doubles("a") as (a,), fleet_of(a) as (fleet, _):
            await a.stop()
            with pytest.raises(EngineUnavailable):
                await fleet.infer("m", [])
            with pytest.raises(EngineUnavailable, match="no Triton can be asked now"):
                await fleet.infer("m", [])
            await a.start()
            await until(lambda: up(fleet) == 1)
            assert await asked(fleet) == ["a"]

    asyncio.run(run())


def test_requests_leave_an_endpoint_that_stops_answering_probes() -> None:
    async def run() -> None:
        async with doubles("a", "b") as (a, b), fleet_of(a, b) as (fleet, retries):
            a.gate = asyncio.Event()
            held = [asyncio.create_task(asked(fleet)) for _ in range(2)]
            await a.arrived.wait()
            a.ready = False
            assert [name for task in held for name in await task] == ["b", "b"]
            assert retries == ["unavailable"]
            a.ready = True
            await until(lambda: up(fleet) == 2)
            a.gate.set()

    asyncio.run(run())


def test_calls_that_break_off_together_are_one_failure_of_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(endpoint_module, "LONGEST_PAUSE", 100.0)

    async def run() -> list[float]:
        async with doubles("a") as (a,):
            endpoint = Endpoint(a.address, prove)
            await endpoint.probe()
            a.gate = asyncio.Event()
            calls = [asyncio.create_task(endpoint.infer("m", [])) for _ in range(5)]
            await until(lambda: len(a.requests) == 5)
            a.failure = (grpc.StatusCode.UNAVAILABLE, "gone")
            a.gate.set()
            await asyncio.gather(*calls, return_exceptions=True)
            a.ready, pauses = False, [endpoint.pause]
            for _ in range(2):
                await endpoint.probe()
                pauses.append(endpoint.pause)
            await endpoint.close()
            return pauses

    assert asyncio.run(run()) == [2, 4, 8]


def test_what_is_not_as_it_should_be_is_not_asked() -> None:
    wrong: set[str] = set()

    async def choosy(endpoint: Endpoint[str]) -> str:
        if endpoint.address in wrong:
            raise EngineFailure("wrong weights")
        return "right"

    async def run() -> None:
        async with doubles("a", "b") as (a, b):
            wrong.add(a.address)
            async with fleet_of(a, b, prove=choosy) as (fleet, _):
                assert await asked(fleet, 3) == ["b", "b", "b"]
            with pytest.raises(EngineFailure, match="wrong weights"):
                async with fleet_of(a, prove=choosy):
                    pass

    asyncio.run(run())


def test_one_model_is_served_at_a_time_while_servers_are_replaced() -> None:
    models: dict[str, str] = {}

    async def by_address(endpoint: Endpoint[str]) -> str:
        return models[endpoint.address]

    async def run() -> None:
        async with doubles("old", "new") as (old, new):
            models.update({old.address: "1", new.address: "2"})
            async with fleet_of(old, new, prove=by_address) as (fleet, _):
                assert fleet.identity == "1"
                assert await asked(fleet, 3) == ["old", "old", "old"]
                await old.stop()
                await until(lambda: fleet.identity == "2")
                assert await asked(fleet, 2) == ["new", "new"]
                # what was prepared for the old model, the new one is not asked
                with pytest.raises(EngineUnavailable):
                    await fleet.infer("m", [], identity="1")
                await old.start()

    asyncio.run(run())


def test_addresses_come_and_go() -> None:
    async def run() -> None:
        async with doubles("a", "b") as (a, b):
            listed = [a.address]

            async def addresses() -> list[str]:
                if not listed:
                    raise OSError("the name service is away")
                return listed

            fleet = Fleet(addresses, prove)
            await fleet.start()
            listed[:] = [a.address, b.address]
            await until(lambda: up(fleet) == 2)
            a.gate = b.gate = asyncio.Event()
            held = [asyncio.create_task(asked(fleet)) for _ in range(2)]
            await asyncio.gather(a.arrived.wait(), b.arrived.wait())
            listed[:] = [b.address]
            await until(lambda: up(fleet) == 1)
            a.gate.set()
            assert sorted([name for task in held for name in await task]) == ["a", "b"]  # what it had is finished
            listed.clear()
            assert await asked(fleet, 2) == ["b", "b"]
            await fleet.close()
            await fleet.close()

    asyncio.run(run())


def test_a_call_is_never_cancelled() -> None:
    """Neither by its caller's end nor by a deadline: releases of Triton crash on it."""

    async def run() -> None:
        async with doubles("a") as (a,), fleet_of(a) as (fleet, _):
            a.gate = asyncio.Event()
            with pytest.raises(EngineTimeout):
                await fleet.infer("m", [], deadline=Deadline.after(0.05))
            a.arrived.clear()
            leaving = asyncio.create_task(fleet.infer("m", []))
            await a.arrived.wait()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert [server.in_flight for server in fleet.serving()] == [2]
            a.gate.set()
            await a.answered.wait()
            await until(lambda: [server.in_flight for server in fleet.serving()] == [0])

    asyncio.run(run())


def test_the_deadline_travels_as_the_requests_own_timeout() -> None:
    async def run() -> None:
        async with doubles("a") as (a,), fleet_of(a) as (fleet, _):
            await fleet.infer("m", [], deadline=Deadline.after(20))
            with pytest.raises(EngineTimeout):
                await fleet.infer("m", [], deadline=Deadline.after(-1))
            (request,) = a.requests
            assert 1_000_000 < request.parameters["timeout"].int64_param <= 20_000_000  # microseconds

    asyncio.run(run())
