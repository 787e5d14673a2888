"""Composition: settings -> engine, pipeline and gateway, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from landmarks.repository import model_path
from landmarks.tensors import HEATMAP_MODEL
from service.detector import Detector, HaarDetector, YuNetDetector
from service.embedded import EmbeddedTriton, EmbeddedTritonError
from service.gateway import Gateway, Readiness
from service.images import ImageLimits
from service.inference import Engine, EngineError, EngineUnavailable, LocalEngine, TritonEngine
from service.pipeline import Limits, Pipeline
from service.settings import Settings

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The service cannot start, or cannot go on; the message says why and what to do."""


@asynccontextmanager
async def running_gateway(
    settings: Settings, engine_ended: Callable[[], None] = lambda: None
) -> AsyncIterator[Gateway]:
    """The gateway with its engine ready; on leaving, everything that was started has ended. Raises StartError.

    `engine_ended` is called should the embedded Triton end by itself.
    """
    detector = _detector(settings)
    executor = ThreadPoolExecutor(settings.threads or min(os.cpu_count() or 1, 8), "landmarks-images")
    try:
        async with _running_engine(settings, engine_ended) as engine:
            limits = Limits(ImageLimits(settings.max_bytes, settings.max_pixels, settings.max_side), settings.max_faces)
            yield Gateway(
                Pipeline(engine, detector, executor, limits),
                Readiness(engine),
                max_bytes=settings.max_bytes,
                max_images=settings.max_images,
                max_batch_bytes=settings.max_batch_bytes,
                max_in_flight=settings.max_in_flight,
                request_timeout=settings.request_timeout,
            )
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def _running_engine(settings: Settings, ended: Callable[[], None]) -> AsyncIterator[Engine]:
    try:
        async with _chosen_engine(settings, ended) as engine:
            try:
                await _wait_until_ready(engine, settings.startup_timeout)
                yield engine
            finally:
                await engine.close()
    except (EngineError, EmbeddedTritonError) as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def _chosen_engine(settings: Settings, ended: Callable[[], None]) -> AsyncIterator[Engine]:
    """A Triton that runs already, one of our own, or none at all."""
    if settings.triton_url is not None:
        yield TritonEngine(settings.triton_url)
    elif settings.engine == "local":
        yield LocalEngine(model_file(model_repository(settings)))
    else:
        triton = EmbeddedTriton(model_repository(settings), start_timeout=settings.startup_timeout)
        try:
            url = await triton.start()
            watch = asyncio.ensure_future(triton.wait())
            watch.add_done_callback(lambda done: None if done.cancelled() else ended())
            try:
                yield TritonEngine(url)
            finally:
                watch.cancel()
        finally:
            await triton.stop()


async def _wait_until_ready(engine: Engine, timeout: float) -> None:
    """Tries until the engine answers its golden crop: a Triton elsewhere may come up after this service."""
    end = time.monotonic() + timeout
    told = False
    while True:
        try:
            await engine.start()
            if await engine.ready():
                return
            failure: EngineError = EngineUnavailable("the golden crop is not answered as the model was exported")
        except EngineUnavailable as error:
            failure = error
        if time.monotonic() >= end:
            raise failure
        if not told:
            logger.warning("waiting up to %g s for the network: %s", timeout, failure)
            told = True
        await asyncio.sleep(0.5)


def model_repository(settings: Settings) -> Path:
    """The folder that Triton loads. Raises StartError where there is none."""
    found = [settings.model_repository] if settings.model_repository else [
        Path(__file__).resolve().parent.parent / "model_repo",
        Path.cwd() / "model_repo",
    ]  # fmt: skip
    for folder in found:
        if (folder / HEATMAP_MODEL).is_dir():
            return folder
    places = " or ".join(str(folder) for folder in found)
    raise StartError(f"no model repository at {places}: set LANDMARKS_MODEL_REPOSITORY to the project's model_repo")


def model_file(repository: Path) -> Path:
    """The network's file. Raises StartError where it is not there."""
    path = model_path(repository)
    if not path.is_file():
        raise StartError(f"no {path}: export it with landmarks-train export")
    return path


def _detector(settings: Settings) -> Detector:
    try:
        return HaarDetector() if settings.yunet_path is None else YuNetDetector(settings.yunet_path)
    except Exception as error:  # OpenCV raises its own, and a damaged file nearly anything
        raise StartError(f"the face detector cannot be loaded: {error}") from error
