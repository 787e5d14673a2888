"""What a Triton must answer before it gets any requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from landmarks import codec
from landmarks.repository import model_path
from service.engines.local import LocalEngine
from service.engines.port import EngineFailure
from service.engines.triton import endpoint as endpoint_module
from service.engines.triton.engine import TritonEngine
from tests.service.triton_double import ModelDouble, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is up is verified at every probe."""
    for name in ("PROBE_INTERVAL", "INITIAL_BACKOFF", "MAX_BACKOFF"):
        monkeypatch.setattr(endpoint_module, name, 0.01)
    monkeypatch.setattr(endpoint_module, "VERIFY_INTERVAL", 0.0)


@asynccontextmanager
async def engine_of(double: ModelDouble) -> AsyncIterator[TritonEngine]:
    """An engine for this Triton. The Triton is started, the engine is not."""
    await double.start()
    engine = TritonEngine(double.address)
    try:
        yield engine
    finally:
        await engine.close()
        await double.stop()


async def refusal(double: ModelDouble) -> str:
    """Why an engine refuses to start with this Triton."""
    async with engine_of(double) as engine:
        with pytest.raises(EngineFailure) as caught:
            await engine.start()
        assert not await engine.ready()
        return str(caught.value)


async def test_one_crop_and_a_full_batch_at_first_and_one_crop_afterwards() -> None:
    double = ModelDouble(max_batch=8)
    async with engine_of(double) as engine:
        await engine.start()
        await until(lambda: len(double.batches) >= 5)
        assert double.batches[:5] == [1, 8, 1, 1, 1]


async def test_a_full_batch_again_when_it_comes_back() -> None:
    double = ModelDouble(max_batch=4)
    async with engine_of(double) as engine:
        await engine.start()
        await double.stop()
        await until(lambda: engine.endpoints == 0)
        double.requests.clear()
        await double.start()
        await until(lambda: engine.endpoints == 1)
        assert double.batches[:2] == [1, 4]


async def test_one_wrong_answer_in_a_full_batch_is_enough() -> None:
    double = ModelDouble()
    double.moved = {8: 0.06}
    message, batches = await refusal(double), double.batches[:2]
    assert "answered 0.060 pixels off in a batch of 8" in message
    assert batches == [1, 8]


async def test_a_wrong_answer_to_one_crop_is_enough() -> None:
    double = ModelDouble()
    double.moved = {1: 5.0}
    message, batches = await refusal(double), set(double.batches)
    assert "answered 5.000 pixels off in a batch of 1" in message
    assert batches == {1}


async def test_a_triton_that_goes_wrong_later_is_taken_out_of_use_until_it_is_right() -> None:
    double = ModelDouble()
    async with engine_of(double) as engine:
        await engine.start()
        double.moved = {8: 0.06}  # which is not checked while it is up
        await until(lambda: len(double.batches) >= 5)
        assert engine.endpoints == 1
        double.moved = {1: 0.06, 8: 0.06}
        await until(lambda: engine.endpoints == 0)
        double.moved = {8: 0.06}
        double.requests.clear()
        await until(lambda: double.batches[-2:] == [1, 8])
        assert engine.endpoints == 0
        double.moved = {8: 0.04}  # rounding, and other kernels
        await until(lambda: engine.endpoints == 1)


async def test_models_that_were_stamped_for_different_files_are_refused() -> None:
    double = ModelDouble()
    double.provenances["heatmap"] = "sha256:01"
    assert "were stamped for different model files" in await refusal(double)


async def test_a_triton_of_an_earlier_release_is_refused_with_what_to_do() -> None:
    double = ModelDouble()
    double.states_metadata = False
    message = await refusal(double)
    assert "Triton's model 'decode' states no usable metadata" in message
    assert "take the model_repo/ of this one, and run landmarks-train export again" in message
    assert len(message.splitlines()) == 1


async def test_wrong_scores_and_covariances_are_refused() -> None:
    double = ModelDouble()
    double.score = 0.99
    assert "scores are 0.0100 off in a batch of 1" in await refusal(double)
    double = ModelDouble()
    double.variance = 1.01  # of a trace of 2, and 0.1
    assert "covariances are 0.48 % off in a batch of 1" in await refusal(double)


async def test_a_model_without_golden_scores_is_served() -> None:
    double = ModelDouble()
    double.metadata = replace(double.metadata, golden_scores=(), golden_covariances=())
    double.variance = 1.01
    async with engine_of(double) as engine:
        await engine.start()
        assert await engine.ready()


async def test_an_engine_in_this_process_does_not_start_with_another_decoder(
    model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(model_path(model_repository))
    monkeypatch.setattr(codec, "MOMENT_WINDOW", 7)
    try:
        with pytest.raises(EngineFailure, match=r"the golden crop's (scores|covariances) are "):
            await engine.start()
        assert not await engine.ready()
    finally:
        await engine.close()
