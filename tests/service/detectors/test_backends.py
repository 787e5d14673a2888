"""Asking the repository's detector: a real Triton and this process, which must answer alike."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.detection import Detections, DetectorMetadata
from landmarks.golden import golden_crop
from landmarks.repository import model_path, provenance
from landmarks.runtime import DetectorNetwork
from service.deadline import Deadline
from service.detectors.backends import LocalFinder, TritonFinder
from service.detectors.network import NetworkDetector
from service.engines.local import LocalEngine
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError


@asynccontextmanager
async def triton_finder(url: str) -> AsyncIterator[TritonFinder]:
    engine = TritonEngine(url)
    await engine.start()
    try:
        yield TritonFinder(engine)
    finally:
        await engine.close()


@asynccontextmanager
async def local_finder(repository: Path) -> AsyncIterator[LocalFinder]:
    engine = LocalEngine(model_path(repository))
    try:
        yield LocalFinder(engine, model_path(repository, kind=DetectorMetadata))
    finally:
        await engine.close()


def crowd() -> NDArray[np.uint8]:
    """The golden face twelve times, 40 to 150 pixels large: RGB [480, 640, 3]."""
    picture = np.full((480, 640, 3), 120, np.uint8)
    sizes = (160, 150, 140, 130, 120, 110, 100, 90, 80, 70, 60, 50)
    for i, size in enumerate(sizes):
        top, left = 160 * (i // 4), 160 * (i % 4)
        picture[top : top + size, left : left + size] = golden_crop(size)
    return picture


PICTURES = [crowd(), golden_crop(), golden_crop(33), np.zeros((1, 1, 3), np.uint8), np.zeros((3, 700, 3), np.uint8)]


def test_triton_and_this_process_find_the_same_to_the_last_bit(triton_url: str, model_repository: Path) -> None:
    async def run() -> None:
        async with triton_finder(triton_url) as triton, local_finder(model_repository) as local:
            assert await triton.identify() == await local.identify()
            for picture in PICTURES:
                deadline = Deadline.after(60.0)
                theirs, ours = await triton.find(picture, deadline), await local.find(picture, deadline)
                assert ours.boxes.dtype == theirs.boxes.dtype == np.float64
                assert ours.boxes.shape == theirs.boxes.shape
                assert ours.boxes.tobytes() == theirs.boxes.tobytes()
                assert ours.scores.tobytes() == theirs.scores.tobytes()

    asyncio.run(run())


def test_every_face_of_a_picture_is_found(model_repository: Path) -> None:
    async def run() -> Detections:
        async with local_finder(model_repository) as local:
            return await local.find(crowd(), None)

    found = asyncio.run(run())
    assert len(found.boxes) == 12
    assert (np.diff(found.scores) <= 0).all()


def test_the_shipped_detector_is_ready_and_says_what_it_is(triton_url: str, model_repository: Path) -> None:
    async def run() -> tuple[bool, str]:
        async with triton_finder(triton_url) as finder:
            with ThreadPoolExecutor(1) as executor:
                ready = await NetworkDetector(finder, executor).ready()
            return ready, (await finder.identify()).provenance

    ready, told = asyncio.run(run())
    assert ready
    assert told == provenance(model_path(model_repository, kind=DetectorMetadata).read_bytes())


@pytest.mark.parametrize("which", ["triton", "local"])
def test_a_deadline_and_a_flood_are_answered_as_the_engine_answers_them(
    request: pytest.FixtureRequest, model_repository: Path, which: str
) -> None:
    opened = (
        local_finder(model_repository) if which == "local" else triton_finder(request.getfixturevalue("triton_url"))
    )
    picture = golden_crop(64)

    async def run() -> tuple[list[Detections | BaseException], Detections]:
        async with opened as finder:
            await finder.identify()
            with pytest.raises(EngineTimeout):
                await finder.find(crowd(), Deadline.after(1e-6))
            flood = (finder.find(picture, None) for _ in range(300))
            outcomes = await asyncio.gather(*flood, return_exceptions=True)
            return outcomes, await finder.find(picture, Deadline.after(60.0))

    outcomes, after = asyncio.run(run())
    assert {type(outcome) for outcome in outcomes} == {Detections, EngineOverloaded}
    assert after.boxes.shape == (1, 4)


def test_a_repository_without_a_detector_is_told_what_to_do(repository_copy: Path) -> None:
    shutil.rmtree(repository_copy / "detector")

    async def run() -> str:
        async with local_finder(repository_copy) as finder:
            with pytest.raises(EngineFailure) as caught:
                await finder.identify()
            return str(caught.value)

    told = asyncio.run(run())
    assert "no face detector" in told
    assert "landmarks-train export-detector" in told
    assert "LANDMARKS_YUNET_PATH" in told


@pytest.mark.usefixtures("needs_triton")
def test_a_triton_without_a_detector_is_told_of(repository_copy: Path) -> None:
    shutil.rmtree(repository_copy / "detector")

    async def run() -> str:
        triton = EmbeddedTriton(repository_copy)
        try:
            async with triton_finder(await triton.start()) as finder:
                with pytest.raises(EngineFailure) as caught:
                    await finder.identify()
                return str(caught.value)
        finally:
            await triton.stop()

    told = asyncio.run(run())
    assert "Triton serves no face detector" in told
    assert "landmarks-train export-detector" in told


@pytest.mark.usefixtures("needs_triton")
def test_a_detector_swapped_for_another_is_refused_at_load(repository_copy: Path) -> None:
    path = model_path(repository_copy, kind=DetectorMetadata)
    content = path.read_bytes()
    run_id = DetectorNetwork(path, threads=1).metadata.run_id.encode()
    path.write_bytes(content.replace(run_id, run_id[:-1] + b"~"))
    with pytest.raises(EmbeddedTritonError) as caught:
        asyncio.run(EmbeddedTriton(repository_copy).start())
    assert "config.pbtxt was stamped for another model.onnx" in str(caught.value)
    assert "run landmarks-train export-detector again" in str(caught.value)


def test_a_damaged_detector_is_a_failure(repository_copy: Path) -> None:
    model_path(repository_copy, kind=DetectorMetadata).write_bytes(b"not a network")

    async def run() -> None:
        async with local_finder(repository_copy) as finder:
            await finder.identify()

    with pytest.raises(EngineFailure, match="not an ONNX file"):
        asyncio.run(run())
