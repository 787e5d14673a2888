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
from service.answer import ServedModel
from service.deadline import Deadline
from service.engines import local as inference
from service.engines.local import LocalEngine
from service.engines.port import Engine, EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import free_ports


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[Engine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    """Eleven different crops, more than Triton takes in one batch: the golden face, shifted, and noise."""
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


def joined(parts: list[Decoded]) -> Decoded:
    return Decoded(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@pytest.mark.parametrize(("decoder", "topk"), [(None, None), (None, 25), *((name, None) for name in DECODERS)])
def test_triton_answers_as_the_bare_network_does_to_the_last_bit(
    triton_url: str, local: LocalEngine, crops: NDArray[np.uint8], decoder: str | None, topk: int | None
) -> None:
    async def both() -> tuple[Decoded, Decoded]:
        async with started(TritonEngine(triton_url)) as triton, started(local) as bare:
            options = {"decoder": decoder, "topk": topk}
            return await triton.infer(crops, **options), await bare.infer(crops, **options)

    assert_same_bits(*asyncio.run(both()))


def test_both_engines_name_the_same_model(triton_url: str, local: LocalEngine, model_repository: Path) -> None:
    async def models() -> tuple[ServedModel, ServedModel]:
        async with started(TritonEngine(triton_url)) as triton, started(local) as bare:
            return triton.model, bare.model

    triton, bare = asyncio.run(models())
    assert triton == bare
    assert triton.version == "1"
    digest = hashlib.sha256((model_repository / "heatmap/1/model.onnx").read_bytes()).hexdigest()
    assert triton.provenance == f"sha256:{digest}"


def test_a_batch_answers_as_single_requests_do(engine: Engine, crops: NDArray[np.uint8]) -> None:
    async def run() -> tuple[Decoded, list[Decoded]]:
        async with started(engine):
            return await engine.infer(crops[:3]), [await engine.infer(crops[i : i + 1]) for i in range(3)]

    batch, singles = asyncio.run(run())
    assert batch.points.shape == (3, 98, 2)
    assert batch.scores.shape == (3, 98)
    assert batch.covariances.shape == (3, 98, 2, 2)
    assert_same_bits(batch, joined(singles))


def test_concurrent_requests_answer_as_sequential_ones_whatever_their_topk(
    engine: Engine, crops: NDArray[np.uint8]
) -> None:
    requests = [(crops[i % 11 :][:1], 1 + i % 4) for i in range(24)]

    async def run() -> tuple[list[Decoded], list[Decoded]]:
        async with started(engine):
            together = await asyncio.gather(*(engine.infer(crop, topk=k) for crop, k in requests))
            return together, [await engine.infer(crop, topk=k) for crop, k in requests]

    together, alone = asyncio.run(run())
    assert_same_bits(joined(together), joined(alone))


def test_topk_reaches_the_decoder(engine: Engine) -> None:
    async def run() -> tuple[Decoded, Decoded, Decoded]:
        async with started(engine):
            crop = golden_crop()[None]
            return await engine.infer(crop), await engine.infer(crop, topk=9), await engine.infer(crop, topk=1)

    default, nine, one = asyncio.run(run())
    assert_same_bits(default, nine)
    cells = (one.points - 1.5) / 4  # the strongest cell alone: its very centre
    assert np.array_equal(cells, np.round(cells))
    assert not np.array_equal(nine.points, one.points)


def test_no_crops_give_no_faces(engine: Engine) -> None:
    async def run() -> Decoded:
        async with started(engine):
            return await engine.infer(np.empty((0, 256, 256, 3), np.uint8))

    assert [values.shape for values in asyncio.run(run())] == [(0, 98, 2), (0, 98), (0, 98, 2, 2)]


def test_ready_once_the_golden_crop_is_answered(engine: Engine) -> None:
    async def run() -> list[bool]:
        before = await engine.ready() if isinstance(engine, LocalEngine) else False
        async with started(engine):
            serving = [await engine.ready(), await engine.ready()]
        return [before, *serving, await engine.ready()]

    assert asyncio.run(run()) == [False, True, True, False]


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
def test_what_the_model_cannot_take_is_refused(engine: Engine, crops: NDArray[np.uint8], topk: int | None) -> None:
    async def run() -> Decoded:
        async with started(engine):
            with pytest.raises(EngineFailure):
                await engine.infer(crops, topk=topk)
            return await engine.infer(golden_crop()[None])

    assert asyncio.run(run()).points.shape == (1, 98, 2)


def test_a_deadline_that_has_passed(engine: Engine) -> None:
    async def run() -> Decoded:
        async with started(engine):
            with pytest.raises(EngineTimeout):
                await engine.infer(golden_crop()[None], deadline=Deadline.after(0.0))
            return await engine.infer(golden_crop()[None], deadline=Deadline.after(60.0))

    assert asyncio.run(run()).points.shape == (1, 98, 2)


def test_overload_is_refused_at_once_and_the_rest_is_answered(engine: Engine) -> None:
    crop = golden_crop()[None]

    async def run() -> tuple[list[Decoded | BaseException], Decoded]:
        async with started(engine):
            flood = (engine.infer(crop) for _ in range(300))
            outcomes = await asyncio.gather(*flood, return_exceptions=True)
            return outcomes, await engine.infer(crop)

    outcomes, after = asyncio.run(run())
    assert {type(outcome) for outcome in outcomes} == {Decoded, EngineOverloaded}
    for outcome in outcomes:
        if isinstance(outcome, Decoded):
            assert_same_bits(outcome, after)


def test_a_deadline_ends_the_wait(engine: Engine) -> None:
    crops = np.repeat(golden_crop()[None], 8, axis=0)

    async def run() -> tuple[list[Decoded | BaseException], Decoded]:
        async with started(engine):
            flood = (engine.infer(crops, deadline=Deadline.after(0.001)) for _ in range(20))
            outcomes = await asyncio.gather(*flood, return_exceptions=True)
            return outcomes, await engine.infer(crops[:1])

    outcomes, after = asyncio.run(run())
    assert {type(outcome) for outcome in outcomes} == {EngineTimeout}
    assert after.points.shape == (1, 98, 2)


def test_no_triton_there() -> None:
    async def run() -> bool:
        engine = TritonEngine(f"127.0.0.1:{free_ports(1)[0]}")
        with pytest.raises(EngineUnavailable):
            await engine.start()
        ready = await engine.ready()
        await engine.close()
        await engine.close()
        with pytest.raises(EngineUnavailable):
            await engine.start()  # tries again
        await engine.close()
        return ready

    assert asyncio.run(run()) is False


@pytest.mark.parametrize(("content", "message"), [(None, "no model file"), (b"not a network", "not an ONNX file")])
def test_a_model_file_that_is_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)

    async def run() -> None:
        async with started(LocalEngine(path)):
            pass

    with pytest.raises(EngineFailure, match=message):
        asyncio.run(run())


def test_wrong_weights_are_told_at_once_and_never_ready(repository_with_wrong_weights: Path) -> None:
    async def run() -> bool:
        engine = LocalEngine(model_path(repository_with_wrong_weights))
        try:
            with pytest.raises(EngineFailure, match="golden"):
                await engine.start()
            return await engine.ready()
        finally:
            await engine.close()

    assert asyncio.run(run()) is False


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_failures(
    local: LocalEngine, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    def spoiled(*arguments: object) -> Decoded:
        return Decoded(
            np.full((1, 98, 2), bad, np.float32), np.zeros((1, 98), np.float32), np.zeros((1, 98, 2, 2), np.float32)
        )

    async def run() -> None:
        async with started(local):
            monkeypatch.setattr(inference, "decode", spoiled)
            await local.infer(golden_crop()[None])

    with pytest.raises(EngineFailure, match="points are not finite"):
        asyncio.run(run())
