"""Composition: settings -> engine, pipeline and gateway, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from landmarks.detection import DetectorMetadata
from landmarks.repository import INT8_CONFIG, Precision, model_path
from landmarks.tensors import HEATMAP_MODEL
from service.detectors.backends import Finder, LocalFinder, TritonFinder
from service.detectors.network import NetworkDetector
from service.detectors.port import Detector
from service.detectors.yunet import ThreadedDetector, YuNet
from service.engines.local import LocalEngine
from service.engines.port import Engine, EngineError, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton.engine import TritonEngine
from service.engines.triton.resolver import DnsResolver, Resolver
from service.gateway import Gateway, Readiness
from service.images.limits import ImageLimits
from service.observability.request_scope import Telemetry
from service.pipeline import Limits, Pipeline
from service.rollout.canary import Rollout, Share
from service.rollout.shadow import Comparison
from service.settings import Settings
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError
from service.triton_server.supervisor import TritonSupervisor

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The service cannot start, or cannot go on; the message says why and what to do."""


def image_limits(settings: Settings) -> ImageLimits:
    """The largest image that is decoded."""
    return ImageLimits(settings.max_bytes, settings.max_pixels, settings.max_side)


@asynccontextmanager
async def running_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """The gateway with its engine ready; on leaving, everything that was started has ended. Raises StartError."""
    executor = ThreadPoolExecutor(settings.threads or min(os.cpu_count() or 1, 8), "landmarks-images")
    try:
        async with (
            running_telemetry(settings) as telemetry,
            _running_engine(settings, executor, telemetry) as (engine, detector),
            _running_rollout(settings, engine, telemetry) as rollout,
            _running_comparison(settings, telemetry) as comparison,
        ):
            limits = Limits(image_limits(settings), settings.max_faces)
            yield Gateway(
                Pipeline(rollout, detector, executor, limits, comparison),
                Readiness(engine, detector),
                max_bytes=settings.max_bytes,
                max_images=settings.max_images,
                max_batch_bytes=settings.max_batch_bytes,
                max_in_flight=settings.max_in_flight,
                request_timeout=settings.request_timeout,
                telemetry=telemetry,
            )
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def running_telemetry(settings: Settings) -> AsyncIterator[Telemetry]:
    """Telemetry that records traces where the settings name a collector. Raises StartError."""
    if settings.otlp_endpoint is None:
        yield Telemetry()
        return
    try:
        from service.observability.tracing import otlp_tracer_provider  # an optional dependency: the extra `otel`
    except ImportError as error:
        raise StartError(
            f"LANDMARKS_OTLP_ENDPOINT is set, but {error.name} is not installed: pip install h3r-landmarks[otel]"
        ) from error
    provider = otlp_tracer_provider(settings.otlp_endpoint)
    try:
        yield Telemetry(provider.get_tracer("landmarks"))
    finally:
        await asyncio.to_thread(provider.shutdown)  # sends what is left


@asynccontextmanager
async def _running_engine(
    settings: Settings, executor: Executor, telemetry: Telemetry
) -> AsyncIterator[tuple[Engine, Detector]]:
    try:
        async with _chosen_engine(settings, telemetry) as engine:
            try:
                detector = _detector(settings, engine, executor)
                await _wait_until_ready(engine, settings.startup_timeout)
                await _wait_until_ready(detector, settings.startup_timeout)
                yield engine, detector
            finally:
                await engine.close()
    except (EngineError, EmbeddedTritonError) as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def _chosen_engine(settings: Settings, telemetry: Telemetry) -> AsyncIterator[TritonEngine | LocalEngine]:
    """Tritons that run already, one of our own, or none at all."""
    if settings.triton_url is not None:
        yield _observed(_named("triton_url", settings.triton_url), telemetry)
        return
    repository = model_repository(settings)
    path = model_file(repository, settings.precision)
    if settings.engine == "local":
        yield LocalEngine(path)
    else:
        triton = _kept(settings, repository)
        try:
            await triton.start()
            yield _heeded(triton, _observed(triton, telemetry))
        finally:
            await triton.stop()


def _kept(settings: Settings, repository: Path) -> TritonSupervisor:
    timeout, otlp = settings.startup_timeout, settings.otlp_endpoint
    config = INT8_CONFIG if settings.precision == "int8" else None
    return TritonSupervisor(
        lambda: EmbeddedTriton(repository, start_timeout=timeout, otlp_endpoint=otlp, config_name=config)
    )


def _heeded(triton: TritonSupervisor, engine: TritonEngine) -> TritonEngine:
    """The engine that asks this Triton: whether it is answered tells whether the Triton hangs."""
    triton.set_health_probe(lambda: engine.endpoints > 0)
    return engine


def _observed(addresses: Resolver, telemetry: Telemetry) -> TritonEngine:
    engine = _asking(addresses, telemetry)
    telemetry.metrics.triton_endpoints.set_function(lambda: engine.endpoints)
    return engine


def _asking(addresses: Resolver, telemetry: Telemetry) -> TritonEngine:
    return TritonEngine(addresses, lambda reason: telemetry.metrics.triton_retries.labels(reason).inc())


def _named(setting: str, url: str) -> DnsResolver:
    try:
        return DnsResolver(url)
    except ValueError as error:
        raise StartError(f"LANDMARKS_{setting.upper()}: {error}") from error


@asynccontextmanager
async def _running_rollout(settings: Settings, primary: Engine, telemetry: Telemetry) -> AsyncIterator[Rollout]:
    """The primary and, once it is up, the candidate: nothing waits for that one."""
    metrics = telemetry.metrics
    async with _chosen_candidate(settings, telemetry) as candidate:
        if candidate is None:
            if settings.candidate_share or settings.candidate_share_file:
                logger.warning("a candidate's share is set, but there is no LANDMARKS_CANDIDATE_URL or _REPOSITORY")
            yield Rollout(primary)
            return
        share = Share(settings.candidate_share, settings.candidate_share_file)
        metrics.candidate_share.set_function(share)
        rollout = Rollout(primary, candidate, share, lambda reason: metrics.fallbacks.labels(reason).inc())
        try:
            async with _beside(rollout.bring_up(), share.follow()):
                yield rollout
        finally:
            await candidate.close()


@asynccontextmanager
async def _chosen_candidate(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Engine | None]:
    """As the engine is chosen, but not started yet."""
    repository = settings.candidate_repository
    if settings.candidate_url is not None:
        yield _asking(_named("candidate_url", settings.candidate_url), telemetry)
    elif repository is None:
        yield None
    elif settings.engine == "local":
        yield LocalEngine(model_path(repository, precision=settings.precision))
    else:
        triton = _kept(settings, repository)
        try:
            triton.start_in_background()
            yield _heeded(triton, _asking(triton, telemetry))
        finally:
            await triton.stop()


@asynccontextmanager
async def _running_comparison(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Comparison]:
    metrics = telemetry.metrics
    comparison = Comparison(
        settings.compare_share,
        metrics.model_distance.observe,
        lambda reason: metrics.comparisons_dropped.labels(reason).inc(),
    )
    try:
        yield comparison
    finally:
        await comparison.close()


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Works that go on meanwhile, and end then."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_until_ready(network: Engine | Detector, timeout: float) -> None:
    """Tries until the network answers its golden crop: a Triton elsewhere may come up after this service."""
    end = time.monotonic() + timeout
    told = False
    while True:
        try:
            await network.start()
            if await network.ready():
                return
            failure: EngineError = EngineUnavailable("the golden crop is not answered as the model was exported")
        except (EngineUnavailable, EngineTimeout, EngineOverloaded) as error:
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


def model_file(repository: Path, precision: Precision) -> Path:
    """The network's file. Raises StartError where it is not there."""
    path = model_path(repository, precision=precision)
    if not path.is_file():
        how = "export it with landmarks-train export"
        if precision == "int8":
            how = "make it with landmarks-train quantize, or leave LANDMARKS_PRECISION out"
        raise StartError(f"no {path}: {how}")
    return path


def _detector(settings: Settings, engine: TritonEngine | LocalEngine, executor: Executor) -> Detector:
    """YuNet where its file is given, else the repository's own by way of the engine. Raises StartError."""
    if settings.yunet_path is None:
        return NetworkDetector(_finder(settings, engine), executor, settings.detection_size)
    try:
        return ThreadedDetector(YuNet(settings.yunet_path), executor)
    except Exception as error:  # OpenCV raises its own, and a damaged file nearly anything
        raise StartError(f"the face detector cannot be loaded: {error}") from error


def _finder(settings: Settings, engine: TritonEngine | LocalEngine) -> Finder:
    if isinstance(engine, TritonEngine):
        return TritonFinder(engine)
    return LocalFinder(engine, model_path(model_repository(settings), kind=DetectorMetadata))
