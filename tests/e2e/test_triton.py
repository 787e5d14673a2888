"""What the shipped repository does inside a real Triton beyond what the engine's tests show."""

import asyncio
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from landmarks.detection import DetectorMetadata
from landmarks.golden import golden_crop
from landmarks.repository import model_path, string_parameters
from landmarks.runtime import DetectorNetwork, identify
from service.engines.port import EngineFailure
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError

pytestmark = pytest.mark.usefixtures("needs_triton")


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name", ["heatmap", "decode"])
def test_a_configuration_of_another_model_is_refused_at_load(repository_copy: Path, name: str) -> None:
    replace_once(repository_copy / name / "config.pbtxt", "'sha256:", "'sha256:0")
    with pytest.raises(EmbeddedTritonError) as caught:
        asyncio.run(EmbeddedTriton(repository_copy).start())
    assert "config.pbtxt was stamped for another model file" in str(caught.value)
    assert "run landmarks-train export again" in str(caught.value)


def test_a_model_file_swapped_for_another_is_refused_at_load(
    repository_with_wrong_weights: Path, model_repository: Path
) -> None:
    for name in ("heatmap", "decode", "landmarks"):  # as they were stamped for the file that was there before
        shutil.copy(model_repository / name / "config.pbtxt", repository_with_wrong_weights / name)
    with pytest.raises(EmbeddedTritonError, match=r"config\.pbtxt was stamped for another model file"):
        asyncio.run(EmbeddedTriton(repository_with_wrong_weights).start())


def test_wrong_weights_load_but_are_never_ready(repository_with_wrong_weights: Path) -> None:
    async def run() -> bool:
        triton = EmbeddedTriton(repository_with_wrong_weights)
        engine = TritonEngine(await triton.start())
        try:
            with pytest.raises(EngineFailure, match=r"the golden crop is answered .* pixels off"):
                await engine.start()
            return await engine.ready()
        finally:
            await engine.close()
            await triton.stop()

    assert asyncio.run(run()) is False


@pytest.mark.parametrize(
    "bad", [*({"topk": value} for value in ("9", 9.5, True, 0, -1, 4097, 2**40)), {"decoder": "best"}, {"decoder": 5}]
)
def test_a_bad_option_fails_alone(triton_url: str, bad: dict[str, object]) -> None:
    crops = InferInput("crops", [1, 256, 256, 3], "UINT8")
    crops.set_data_from_numpy(golden_crop()[None])

    async def run() -> list[object]:
        client = InferenceServerClient(triton_url)
        choices: list[dict[str, object]] = [{}, bad, {"topk": 9}]
        answers = (client.infer("landmarks", [crops], parameters=choice) for choice in choices)
        try:
            return list(await asyncio.gather(*answers, return_exceptions=True))
        finally:
            await client.close()

    default, refused, nine = asyncio.run(run())
    assert isinstance(refused, InferenceServerException)
    assert refused.status() == "StatusCode.INVALID_ARGUMENT"
    assert f"{next(iter(bad))} must" in refused.message()
    assert np.array_equal(default.as_numpy("points"), nine.as_numpy("points"))  # type: ignore[attr-defined]


def test_concurrent_requests_share_batches(triton_url: str) -> None:
    async def run() -> tuple[int, int]:
        client, engine = InferenceServerClient(triton_url), TritonEngine(triton_url)
        try:
            await engine.start()
            before = await counted(client)
            await asyncio.gather(*(engine.infer(golden_crop()[None]) for _ in range(24)))
            after = await counted(client)
            return after[0] - before[0], after[1] - before[1]
        finally:
            await engine.close()
            await client.close()

    faces, executions = asyncio.run(run())
    assert faces >= 24
    assert executions <= faces // 2


async def counted(client: InferenceServerClient) -> tuple[int, int]:
    """Faces that the network has been given, and the batches that they came in."""
    (model,) = (await client.get_inference_statistics("heatmap")).model_stats
    return model.inference_count, model.execution_count


def test_a_requests_own_timeout_ends_its_wait(triton_url: str) -> None:
    crops = InferInput("crops", [1, 256, 256, 3], "UINT8")
    crops.set_data_from_numpy(golden_crop()[None])

    async def run() -> object:
        client = InferenceServerClient(triton_url)
        try:
            return await client.infer("landmarks", [crops], timeout=1)  # a microsecond
        finally:
            await client.close()

    with pytest.raises(InferenceServerException, match="Request timeout expired"):
        asyncio.run(run())


def test_triton_reports_its_own_metrics_and_listens_on_the_loopback_alone(model_repository: Path) -> None:
    async def run() -> tuple[str, str]:
        triton = EmbeddedTriton(model_repository)
        try:
            await triton.start()
            return triton.metrics_url, await asyncio.to_thread(fetch, triton.metrics_url)
        finally:
            await triton.stop()

    url, text = asyncio.run(run())
    assert url.startswith("http://127.0.0.1:")
    assert 'nv_inference_request_success{model="heatmap",version="1"}' in text


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


async def described(client: InferenceServerClient, model: str) -> str:
    """What a model answers to a request with the input `describe` alone."""
    describe = InferInput("describe", [1, 1], "BOOL")
    describe.set_data_from_numpy(np.ones((1, 1), np.bool_))
    answer = await client.infer(model, [describe])
    assert [output.name for output in answer.get_response().outputs] == ["metadata"]
    return str(answer.as_numpy("metadata")[0, 0].decode())


def test_every_model_has_the_hash_of_the_file_and_two_state_its_metadata(
    triton_url: str, model_repository: Path
) -> None:
    async def run() -> tuple[list[dict[str, object]], list[str]]:
        client = InferenceServerClient(triton_url)
        try:
            names = ("heatmap", "decode", "landmarks", "detector")
            configs = [(await client.get_model_config(name, as_json=True))["config"] for name in names]
            return configs, [await described(client, name) for name in ("decode", "detector")]
        finally:
            await client.close()

    metadata, provenance = identify(model_path(model_repository))
    detector = DetectorNetwork(model_path(model_repository, kind=DetectorMetadata), threads=1)
    configs, texts = asyncio.run(run())
    assert [string_parameters(config) for config in configs] == [
        *[{"landmarks_provenance": provenance}] * 3,
        {"landmarks_provenance": detector.provenance},
    ]
    assert texts == [metadata.to_json(), detector.metadata.to_json()]


def test_the_metadata_are_stated_while_faces_are_decoded(triton_url: str) -> None:
    async def run() -> list[object]:
        client, engine = InferenceServerClient(triton_url), TritonEngine(triton_url)
        try:
            await engine.start()
            faces = (engine.infer(golden_crop()[None]) for _ in range(12))
            return list(await asyncio.gather(*faces, *(described(client, "decode") for _ in range(12))))
        finally:
            await engine.close()
            await client.close()

    outcomes = asyncio.run(run())
    assert len(set(outcomes[12:])) == 1


def test_a_repository_of_an_earlier_release_is_refused_in_one_line(repository_copy: Path) -> None:
    config = repository_copy / "decode/config.pbtxt"
    stamp = """parameters { key: "landmarks_metadata" value { string_value: '{}' } }"""
    config.write_text(config.read_text(encoding="utf-8") + stamp, encoding="utf-8")
    with pytest.raises(EmbeddedTritonError) as caught:
        asyncio.run(EmbeddedTriton(repository_copy).start())
    assert str(caught.value) == (
        f"{config} is of an earlier release, whose configurations held the metadata: take the model_repo/ of this "
        "release, then run landmarks-train export again for a model of your own"
    )
