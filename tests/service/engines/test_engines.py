import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.decoders import DECODERS
from landmarks.golden import golden_crop
from landmarks.repository import model_path
from service.deadline import Deadline
from service.engines import local as inference
from service.engines.local import LocalEngine
from service.engines.port import Engine, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import free_ports

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[Engine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    """Eleven different crops, more than fit into one batch of Triton: the golden crop, shifted, and noise."""
    face = golden_crop()
    shifted = [np.roll(face, 7 * i, axis=(0, 1)) for i in range(9)]
    noise = np.random.default_rng(1).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    return np.stack([*shifted, *noise])


@pytest.fixture
def local(model_repository: Path) -> LocalEngine:
    return LocalEngine(model_path(model_repository))


@pytest.fixture(params=["triton", "local"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "triton":
        return TritonEngine(request.getfixturevalue("triton_url"))
    local: LocalEngine = request.getfixturevalue("local")
    return local


def assert_same_bits(a: Decoded, b: Decoded) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype == np.float32
        assert x.tobytes() == y.tobytes()


def concatenated(parts: list[Decoded]) -> Decoded:
    return Decoded(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@pytest.mark.parametrize(("decoder", "topk"), [(None, None), (None, 25), *((name, None) for name in DECODERS)])
async def test_triton_answers_as_the_bare_network_does_to_the_last_bit(
    triton_url: str, local: LocalEngine, crops: NDArray[np.uint8], decoder: str | None, topk: int | None
) -> None:
    async with started(TritonEngine(triton_url)) as triton, started(local) as bare:
        served = await triton.infer(crops, decoder=decoder, topk=topk)
        assert_same_bits(served, await bare.infer(crops, decoder=decoder, topk=topk))


async def test_both_engines_name_the_same_model(triton_url: str, local: LocalEngine, model_repository: Path) -> None:
    async with started(TritonEngine(triton_url)) as triton, started(local) as bare:
        model = triton.model
        assert bare.model == model
    assert model.version == "1"
    digest = hashlib.sha256((model_repository / "heatmap/1/model.onnx").read_bytes()).hexdigest()
    assert model.provenance == f"sha256:{digest}"


async def test_a_batch_answers_as_single_requests_do(engine: Engine, crops: NDArray[np.uint8]) -> None:
    async with started(engine):
        batch, singles = await engine.infer(crops[:3]), [await engine.infer(crops[i : i + 1]) for i in range(3)]
    assert batch.points.shape == (3, 98, 2)
    assert batch.scores.shape == (3, 98)
    assert batch.covariances.shape == (3, 98, 2, 2)
    assert_same_bits(batch, concatenated(singles))


async def test_concurrent_requests_answer_as_sequential_ones_whatever_their_topk(
    engine: Engine, crops: NDArray[np.uint8]
) -> None:
    requests = [(crops[i % 11 :][:1], 1 + i % 4) for i in range(24)]
    async with started(engine):
        together = await asyncio.gather(*(engine.infer(crop, topk=k) for crop, k in requests))
        alone = [await engine.infer(crop, topk=k) for crop, k in requests]
    assert_same_bits(concatenated(together), concatenated(alone))


async def test_topk_reaches_the_decoder(engine: Engine) -> None:
    async with started(engine):
        crop = golden_crop()[None]
        default, nine, one = (
            await engine.infer(crop),
            await engine.infer(crop, topk=9),
            await engine.infer(crop, topk=1),
        )
    assert_same_bits(default, nine)
    cells = (one.points - 1.5) / 4  # the strongest cell alone: its very centre
    assert np.array_equal(cells, np.round(cells))
    assert not np.array_equal(nine.points, one.points)


async def test_no_crops_give_no_faces(engine: Engine) -> None:
    async with started(engine):
        result = await engine.infer(np.empty((0, 256, 256, 3), np.uint8))
    assert [values.shape for values in result] == [(0, 98, 2), (0, 98), (0, 98, 2, 2), (0, 98)]


async def test_ready_once_the_golden_crop_is_answered(engine: Engine) -> None:
    before = await engine.ready() if isinstance(engine, LocalEngine) else False
    async with started(engine):
        serving = [await engine.ready(), await engine.ready()]
    assert [before, *serving, await engine.ready()] == [False, True, True, False]


@pytest.mark.parametrize(
    ("crops", "topk"),
    [
        (np.zeros((1, 128, 128, 3), np.uint8), None),
        (np.zeros((256, 256, 3), np.uint8), None),
        (np.zeros((1, 256, 256, 3), np.float32), None),
        (np.zeros((1, 256, 256, 3), np.uint8), 0),
        (np.zeros((1, 256, 256, 3), np.uint8), 4097),
    ],
)
async def test_what_the_model_cannot_take_is_refused(
    engine: Engine, crops: NDArray[np.uint8], topk: int | None
) -> None:
    async with started(engine):
        with pytest.raises(EngineFailure):
            await engine.infer(crops, topk=topk)
        result = await engine.infer(golden_crop()[None])
    assert result.points.shape == (1, 98, 2)


async def test_a_deadline_that_has_passed(engine: Engine) -> None:
    async with started(engine):
        with pytest.raises(EngineTimeout):
            await engine.infer(golden_crop()[None], deadline=Deadline.after(0.0))
        result = await engine.infer(golden_crop()[None], deadline=Deadline.after(60.0))
    assert result.points.shape == (1, 98, 2)


async def test_overload_is_refused_at_once_and_the_rest_is_answered(engine: Engine) -> None:
    crop = golden_crop()[None]
    async with started(engine):
        flood = (engine.infer(crop) for _ in range(300))
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        after = await engine.infer(crop)
    assert {type(outcome) for outcome in outcomes} == {Decoded, EngineOverloaded}
    for outcome in outcomes:
        if isinstance(outcome, Decoded):
            assert_same_bits(outcome, after)


async def test_a_deadline_ends_the_wait(engine: Engine) -> None:
    crops = np.repeat(golden_crop()[None], 8, axis=0)
    async with started(engine):
        flood = (engine.infer(crops, deadline=Deadline.after(0.001)) for _ in range(20))
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        after = await engine.infer(crops[:1])
    assert {type(outcome) for outcome in outcomes} == {EngineTimeout}
    assert after.points.shape == (1, 98, 2)


async def test_without_any_triton() -> None:
    engine = TritonEngine(f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(EngineUnavailable):
        await engine.start()
    assert not await engine.ready()
    await engine.close()
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await engine.start()  # tries again
    await engine.close()


@pytest.mark.parametrize(("content", "message"), [(None, "no model file"), (b"not a network", "not an ONNX file")])
async def test_an_invalid_model_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineFailure, match=message):
        async with started(LocalEngine(path)):
            pass


async def test_wrong_weights_fail_the_start_and_are_never_ready(repository_with_wrong_weights: Path) -> None:
    engine = LocalEngine(model_path(repository_with_wrong_weights))
    with pytest.raises(EngineFailure, match="golden"):
        await engine.start()
    assert not await engine.ready()
    await engine.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
async def test_answers_that_are_not_finite_are_failures(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    def spoiled(*arguments: object) -> Decoded:
        return Decoded(
            np.full((1, 98, 2), bad, np.float32),
            np.zeros((1, 98), np.float32),
            np.zeros((1, 98, 2, 2), np.float32),
            np.zeros((1, 0), np.float32),
        )

    async with started(local):
        monkeypatch.setattr(inference, "decode_output", spoiled)
        with pytest.raises(EngineFailure, match="points are not finite"):
            await local.infer(golden_crop()[None])
