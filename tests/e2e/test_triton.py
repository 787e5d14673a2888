"""The shipped repository in a real Triton, beyond the tests of the engine."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from landmarks.detector import DetectorMetadata
from landmarks.golden import golden_crop
from landmarks.repository import model_path, string_parameters
from landmarks.runtime import DetectorNetwork, identify
from service.engines.port import EngineFailure
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError
from tests.conftest import counted

pytestmark = [pytest.mark.usefixtures("needs_triton"), pytest.mark.anyio]


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name", ["heatmap", "decode"])
async def test_a_configuration_of_another_model_is_refused_at_load(repository_copy: Path, name: str) -> None:
    replace_once(repository_copy / name / "config.pbtxt", "'sha256:", "'sha256:0")
    with pytest.raises(EmbeddedTritonError) as caught:
        await EmbeddedTriton(repository_copy).start()
    assert "config.pbtxt was stamped for another model file" in str(caught.value)
    assert "run landmarks-train export again" in str(caught.value)


async def test_a_model_file_swapped_for_another_is_refused_at_load(
    repository_with_wrong_weights: Path, model_repository: Path
) -> None:
    for name in ("heatmap", "decode", "landmarks"):  # as they were stamped for the file that was there before
        shutil.copy(model_repository / name / "config.pbtxt", repository_with_wrong_weights / name)
    with pytest.raises(EmbeddedTritonError, match=r"config\.pbtxt was stamped for another model file"):
        await EmbeddedTriton(repository_with_wrong_weights).start()


async def test_wrong_weights_load_but_are_never_ready(repository_with_wrong_weights: Path) -> None:
    triton = EmbeddedTriton(repository_with_wrong_weights)
    engine = TritonEngine(await triton.start())
    try:
        with pytest.raises(EngineFailure, match=r"the golden crop is answered .* pixels off"):
            await engine.start()
        assert not await engine.ready()
    finally:
        await engine.close()
        await triton.stop()


@pytest.fixture
async def client(triton_url: str, anyio_backend: str) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(triton_url) as client:
        yield client


@pytest.mark.parametrize(
    "bad", [*({"topk": value} for value in ("9", 9.5, True, 0, -1, 4097, 2**40)), {"decoder": "best"}, {"decoder": 5}]
)
async def test_a_bad_option_fails_alone(client: InferenceServerClient, bad: dict[str, object]) -> None:
    crops = InferInput("crops", [1, 256, 256, 3], "UINT8")
    crops.set_data_from_numpy(golden_crop()[None])
    choices: list[dict[str, object]] = [{}, bad, {"topk": 9}]
    answers = (client.infer("landmarks", [crops], parameters=choice) for choice in choices)
    default, refused, nine = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(refused, InferenceServerException)
    assert refused.status() == "StatusCode.INVALID_ARGUMENT"
    assert f"{next(iter(bad))} must" in refused.message()
    assert not isinstance(default, BaseException)
    assert not isinstance(nine, BaseException)
    assert np.array_equal(default.as_numpy("points"), nine.as_numpy("points"))


async def test_concurrent_requests_share_batches(shared_triton: tuple[str, str]) -> None:
    url, metrics = shared_triton
    engine = TritonEngine(url)
    try:
        await engine.start()
        before = await asyncio.to_thread(counted, metrics, "heatmap")
        await asyncio.gather(*(engine.infer(golden_crop()[None]) for _ in range(24)))
        after = await asyncio.to_thread(counted, metrics, "heatmap")
    finally:
        await engine.close()
    faces, executions = after[0] - before[0], after[1] - before[1]
    assert faces >= 24
    # alone, each request would be an execution of its own; how many share one depends on the load of the machine
    assert executions < faces


async def test_triton_reports_its_own_metrics_and_listens_on_the_loopback_only(shared_triton: tuple[str, str]) -> None:
    url, metrics = shared_triton
    assert url.startswith("127.0.0.1:")
    assert metrics.startswith("http://127.0.0.1:")
    assert await asyncio.to_thread(counted, metrics, "heatmap")


async def described(client: InferenceServerClient, model: str) -> str:
    """What a model answers to a request with the input `describe` alone."""
    describe = InferInput("describe", [1, 1], "BOOL")
    describe.set_data_from_numpy(np.ones((1, 1), np.bool_))
    answer = await client.infer(model, [describe])
    assert [output.name for output in answer.get_response().outputs] == ["metadata"]
    return str(answer.as_numpy("metadata")[0, 0].decode())


async def test_every_model_has_the_hash_of_the_file_and_two_state_its_metadata(
    client: InferenceServerClient, model_repository: Path
) -> None:
    metadata, provenance = identify(model_path(model_repository))
    detector = DetectorNetwork(model_path(model_repository, kind=DetectorMetadata), threads=1)
    names = ("heatmap", "decode", "landmarks", "detector")
    configs = [(await client.get_model_config(name, as_json=True))["config"] for name in names]
    assert [string_parameters(config) for config in configs] == [
        *[{"landmarks_provenance": provenance}] * 3,
        {"landmarks_provenance": detector.provenance},
    ]
    assert await described(client, "decode") == metadata.to_json()
    assert await described(client, "detector") == detector.metadata.to_json()


async def test_the_metadata_are_stated_while_faces_are_decoded(triton_url: str, client: InferenceServerClient) -> None:
    engine = TritonEngine(triton_url)
    try:
        await engine.start()
        faces = (engine.infer(golden_crop()[None]) for _ in range(12))
        outcomes = await asyncio.gather(*faces, *(described(client, "decode") for _ in range(12)))
    finally:
        await engine.close()
    assert len(set(outcomes[12:])) == 1


async def test_a_repository_of_an_earlier_release_is_refused_in_one_line(repository_copy: Path) -> None:
    config = repository_copy / "decode/config.pbtxt"
    stamp = """parameters { key: "landmarks_metadata" value { string_value: '{}' } }"""
    config.write_text(config.read_text(encoding="utf-8") + stamp, encoding="utf-8")
    with pytest.raises(EmbeddedTritonError) as caught:
        await EmbeddedTriton(repository_copy).start()
    assert str(caught.value) == (
        f"{config} is of an earlier release, whose configurations held the metadata: take the model_repo/ of this "
        "release, then run landmarks-train export again for a model of your own"
    )
