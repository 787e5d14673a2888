"""One endpoint over a real socket: when a probe takes it out of use, and when not."""

import asyncio
import itertools

import grpc
import pytest

from service.engines.port import EngineTimeout, EngineUnavailable
from service.engines.triton import endpoint as endpoint_module
from service.engines.triton.endpoint import Endpoint
from tests.service.triton_double import doubles, until, verify

pytestmark = pytest.mark.anyio


async def test_calls_that_fail_together_count_as_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "INITIAL_BACKOFF", 1.0)
    monkeypatch.setattr(endpoint_module, "MAX_BACKOFF", 100.0)
    async with doubles("a") as (a,):
        endpoint = Endpoint(a.address, verify)
        await endpoint.probe()
        a.gate = asyncio.Event()
        calls = [asyncio.create_task(endpoint.infer("m", [])) for _ in range(5)]
        await until(lambda: len(a.requests) == 5)
        a.failure = (grpc.StatusCode.UNAVAILABLE, "gone")
        a.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        a.ready, delays = False, [endpoint.probe_delay]
        for _ in range(2):
            await endpoint.probe()
            delays.append(endpoint.probe_delay)
        await endpoint.close()
        assert delays == [2, 4, 8]


async def is_up_after_probe(endpoint: Endpoint[str]) -> bool:
    await endpoint.probe()
    return endpoint.is_up


async def test_a_call_that_fails_during_a_probe_outweighs_the_success_of_that_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoint_module, "VERIFY_INTERVAL", 0.0)
    verifying, go_on = asyncio.Event(), asyncio.Event()
    numbers = itertools.count(1)

    async def slow_second_time(endpoint: Endpoint[str]) -> str:
        if next(numbers) == 2:
            verifying.set()
            await go_on.wait()
        return "the model"

    async with doubles("a") as (a,):
        endpoint = Endpoint(a.address, slow_second_time)
        assert await is_up_after_probe(endpoint)
        probe = asyncio.create_task(endpoint.probe())
        await verifying.wait()
        a.failure = (grpc.StatusCode.UNAVAILABLE, "gone")
        with pytest.raises(EngineUnavailable):
            await endpoint.infer("m", [])
        go_on.set()
        await probe
        assert not endpoint.is_up
        assert await is_up_after_probe(endpoint)
        await endpoint.close()


@pytest.mark.parametrize("answers_calls", [True, False])
async def test_a_slow_probe_is_forgiven_while_calls_are_answered(
    monkeypatch: pytest.MonkeyPatch, answers_calls: bool
) -> None:
    monkeypatch.setattr(endpoint_module, "VERIFY_INTERVAL", 0.0)
    numbers = itertools.count(1)

    async def slow_second_time(endpoint: Endpoint[str]) -> str:
        if next(numbers) == 2:
            if answers_calls:
                await endpoint.infer("m", [])
            raise EngineTimeout("the golden crop was not answered in time")
        return "the model"

    async with doubles("a") as (a,):
        endpoint = Endpoint(a.address, slow_second_time)
        await endpoint.probe()
        await endpoint.infer("m", [])  # an answer before the probe does not count
        await endpoint.probe()
        assert endpoint.is_up is answers_calls
        await endpoint.close()


async def test_a_hung_model_is_not_forgiven_because_another_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "VERIFY_TIMEOUT", 0.2)
    monkeypatch.setattr(endpoint_module, "VERIFY_INTERVAL", 0.0)
    async with doubles("a") as (a,):

        async def check_heatmap(endpoint: Endpoint[str]) -> str:
            if endpoint.is_up:
                await endpoint.infer("detector", [])
                a.gate = asyncio.Event()  # from now on nothing is answered
            await endpoint.check("landmarks", [])
            return "the model"

        endpoint = Endpoint(a.address, check_heatmap)
        await endpoint.probe()
        assert endpoint.is_up
        assert not await is_up_after_probe(endpoint)
        assert endpoint.failure.model == "landmarks"
        assert a.gate is not None
        a.gate.set()
        await endpoint.close()


async def test_a_full_queue_in_front_of_a_model_that_answers_nothing_is_not_forgiven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton refuses requests to a full queue by itself, whether or not the model works on those before them."""
    monkeypatch.setattr(endpoint_module, "VERIFY_TIMEOUT", 0.3)
    monkeypatch.setattr(endpoint_module, "VERIFY_INTERVAL", 0.0)

    async def check(endpoint: Endpoint[str]) -> str:
        await endpoint.check("landmarks", [])
        return "the model"

    async with doubles("a") as (a,):
        endpoint = Endpoint(a.address, check)
        await endpoint.probe()
        a.failure = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        await endpoint.probe()
        assert not endpoint.is_up
        await endpoint.close()


async def test_a_verification_waits_for_a_place_in_a_full_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "QUEUE_INTERVAL", 0.01)
    async with doubles("a") as (a,):
        endpoint = Endpoint(a.address, verify)
        a.failure = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        check = asyncio.create_task(endpoint.check("landmarks", []))
        await until(lambda: len(a.requests) >= 3)
        a.failure = None
        assert (await check).get_response().model_name == "a"
        await endpoint.close()
