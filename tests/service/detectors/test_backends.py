"""The backends of the repository's detector: a real Triton and this process, whose results must be equal."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.detection import Detections
from landmarks.detector import DetectorMetadata
from landmarks.golden import golden_crop
from landmarks.repository import model_path, provenance
from landmarks.runtime import DetectorNetwork
from landmarks.size import Size
from service.deadline import Deadline
from service.detectors.backends import LocalDetectorBackend, TritonDetectorBackend
from service.detectors.network import NetworkDetector
from service.engines.local import LocalEngine
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout
from service.engines.triton.engine import TritonEngine
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def triton_backend(url: str) -> AsyncIterator[TritonDetectorBackend]:
    engine = TritonEngine(url)
    await engine.start()
    try:
        yield TritonDetectorBackend(engine)
    finally:
        await engine.close()


@asynccontextmanager
async def local_backend(repository: Path) -> AsyncIterator[LocalDetectorBackend]:
    engine = LocalEngine(model_path(repository))
    try:
        yield LocalDetectorBackend(engine, model_path(repository, kind=DetectorMetadata))
    finally:
        await engine.close()


def crowd() -> NDArray[np.uint8]:
    """The golden face twelve times, 40 to 150 pixels large: RGB [480, 640, 3]."""
    image = np.full((480, 640, 3), 120, np.uint8)
    sizes = (160, 150, 140, 130, 120, 110, 100, 90, 80, 70, 60, 50)
    for i, size in enumerate(sizes):
        top, left = 160 * (i // 4), 160 * (i % 4)
        image[top : top + size, left : left + size] = golden_crop(Size.square(size))
    return image


IMAGES = [
    crowd(),
    golden_crop(),
    golden_crop(Size.square(33)),
    np.zeros((1, 1, 3), np.uint8),
    np.zeros((3, 700, 3), np.uint8),
]


async def test_triton_and_this_process_find_the_same_to_the_last_bit(triton_url: str, model_repository: Path) -> None:
    async with triton_backend(triton_url) as triton, local_backend(model_repository) as local:
        assert await triton.identify() == await local.identify()
        for image in IMAGES:
            deadline = Deadline.after(60.0)
            theirs, ours = await triton.detect(image, deadline), await local.detect(image, deadline)
            assert ours.boxes.dtype == theirs.boxes.dtype == np.float64
            assert ours.boxes.shape == theirs.boxes.shape
            assert ours.boxes.tobytes() == theirs.boxes.tobytes()
            assert ours.scores.tobytes() == theirs.scores.tobytes()


async def test_every_face_of_an_image_is_found(model_repository: Path) -> None:
    async with local_backend(model_repository) as local:
        found = await local.detect(crowd(), None)
    assert len(found.boxes) == 12
    assert (np.diff(found.scores) <= 0).all()


async def test_the_shipped_detector_is_ready_and_states_its_provenance(triton_url: str, model_repository: Path) -> None:
    async with triton_backend(triton_url) as backend:
        with ThreadPoolExecutor(1) as executor:
            assert await NetworkDetector(backend, executor).ready()
        served = await backend.identify()
    assert served.provenance == provenance(model_path(model_repository, kind=DetectorMetadata).read_bytes())


@pytest.mark.parametrize("which", ["triton", "local"])
async def test_a_deadline_and_overload_are_errors_of_the_engine(
    request: pytest.FixtureRequest, model_repository: Path, which: str
) -> None:
    opened = (
        local_backend(model_repository) if which == "local" else triton_backend(request.getfixturevalue("triton_url"))
    )
    image = golden_crop(Size.square(64))
    async with opened as backend:
        await backend.identify()
        with pytest.raises(EngineTimeout):
            await backend.detect(crowd(), Deadline.after(1e-6))
        flood = (backend.detect(image, None) for _ in range(300))
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        after = await backend.detect(image, Deadline.after(60.0))
    assert {type(outcome) for outcome in outcomes} == {Detections, EngineOverloaded}
    assert after.boxes.shape == (1, 4)


async def test_a_repository_without_a_detector_is_an_error_that_names_the_remedy(repository_copy: Path) -> None:
    shutil.rmtree(repository_copy / "detector")
    async with local_backend(repository_copy) as backend:
        with pytest.raises(EngineFailure) as caught:
            await backend.identify()
    for part in ("no face detector", "landmarks-train export-detector", "LANDMARKS_YUNET_PATH"):
        assert part in str(caught.value)


@pytest.mark.usefixtures("needs_triton")
async def test_a_triton_without_a_detector_is_an_error_that_names_the_remedy(repository_copy: Path) -> None:
    shutil.rmtree(repository_copy / "detector")
    triton = EmbeddedTriton(repository_copy)
    try:
        async with triton_backend(await triton.start()) as backend:
            with pytest.raises(EngineFailure) as caught:
                await backend.identify()
    finally:
        await triton.stop()
    for part in ("Triton serves no face detector", "landmarks-train export-detector"):
        assert part in str(caught.value)


@pytest.mark.usefixtures("needs_triton")
async def test_a_detector_swapped_for_another_is_refused_at_load(repository_copy: Path) -> None:
    path = model_path(repository_copy, kind=DetectorMetadata)
    content = path.read_bytes()
    run_id = DetectorNetwork(path, threads=1).metadata.run_id.encode()
    path.write_bytes(content.replace(run_id, run_id[:-1] + b"~"))
    with pytest.raises(EmbeddedTritonError) as caught:
        await EmbeddedTriton(repository_copy).start()
    assert "config.pbtxt was stamped for another model file" in str(caught.value)
    assert "run landmarks-train export-detector again" in str(caught.value)


async def test_a_damaged_detector_is_a_failure(repository_copy: Path) -> None:
    model_path(repository_copy, kind=DetectorMetadata).write_bytes(b"not a network")
    async with local_backend(repository_copy) as backend:
        with pytest.raises(EngineFailure, match="not an ONNX file"):
            await backend.identify()
