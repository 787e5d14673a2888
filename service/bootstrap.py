"""Composition: settings -> engine and detector -> landmarker -> pipeline -> gateway, and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from landmarks.control_groups import cores
from landmarks.detector import DetectorMetadata
from landmarks.parallelism import Parallelism
from landmarks.repository import INT8_CONFIG, model_path
from service.detectors.backends import DetectorBackend, LocalDetectorBackend, TritonDetectorBackend
from service.detectors.network import NetworkDetector
from service.detectors.port import Detector
from service.detectors.yunet import ThreadedDetector, YuNet
from service.engines.local import LocalEngine
from service.engines.port import Engine, EngineError, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.engines.triton.engine import TritonEngine
from service.engines.triton.resolver import DnsResolver, Resolver
from service.engines.triton.tls import TritonTls
from service.errors import StartError
from service.gateway import Gateway
from service.images.limits import ImageLimits
from service.landmarker import EngineLandmarker, Landmarker
from service.machine_memory import request_memory
from service.memory import MemoryBudget
from service.model_files import model_file, model_repository
from service.observability.request_scope import Telemetry
from service.pipeline import Pipeline, PipelineLimits
from service.readiness import Readiness
from service.rollout.canary import Canary
from service.rollout.shadow import ShadowComparison
from service.rollout.share import Share
from service.settings import Settings
from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError
from service.triton_server.supervisor import TritonSupervisor

logger = logging.getLogger(__name__)


def parallelism(settings: Settings) -> Parallelism:
    """How the landmark network that this process runs, or starts a Triton for, shares the cores."""
    return Parallelism(settings.network_threads, settings.network_streams)


def image_limits(settings: Settings) -> ImageLimits:
    """The largest image that is decoded."""
    return ImageLimits(settings.max_bytes, settings.max_pixels, settings.max_side)


def memory_budget(settings: Settings) -> MemoryBudget:
    """What requests may hold, of the machine or the control group unless a setting says so.

    One peer may have the same share of the bodies' memory as it may have of the connections, but always half: fewer
    connections are no reason for smaller images.
    """
    share = min(1.0, max(0.5, settings.max_connections_per_peer / settings.max_connections))
    budget = MemoryBudget(settings.max_memory or request_memory(), share)
    for name, wanted in (("max_bytes", settings.max_bytes), ("max_batch_bytes", settings.max_batch_bytes)):
        if budget.largest_body < wanted:
            logger.warning(
                "at most %d bytes are taken, fewer than LANDMARKS_%s: requests have %d MiB (LANDMARKS_MAX_MEMORY)",
                budget.largest_body,
                name.upper(),
                budget.total >> 20,
            )
    return budget


@asynccontextmanager
async def running_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """The gateway, ready to answer. On leaving, everything that was started has ended. Raises StartError."""
    executor = ThreadPoolExecutor(settings.threads or min(cores(), 8), "landmarks-images")
    try:
        async with running_telemetry(settings) as telemetry, _running_engine(settings, telemetry) as engine:
            detector = _detector(settings, engine, executor)
            await _start(detector, settings.startup_timeout)
            async with _running_landmarker(settings, engine, executor, telemetry) as landmarker:
                limits = PipelineLimits(image_limits(settings), settings.max_faces, settings.min_score)
                memory = memory_budget(settings)
                yield Gateway(
                    Pipeline(landmarker, detector, executor, limits, memory),
                    Readiness(engine, detector),
                    max_bytes=settings.max_bytes,
                    max_images=settings.max_images,
                    max_batch_bytes=settings.max_batch_bytes,
                    max_in_flight=settings.max_in_flight,
                    request_timeout=settings.request_timeout,
                    memory=memory,
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


async def _start(component: Engine | Detector, timeout: float) -> None:
    """Starts an engine or a detector, and retries until it is ready: a Triton elsewhere may start after this service.

    Raises StartError after `timeout` seconds, and at once for an error that waiting does not cure.
    """
    end = time.monotonic() + timeout
    is_first = True
    while True:
        try:
            await component.start()
            if await component.ready():
                return
            failure: EngineError = EngineUnavailable("the golden crop is not answered as the model was exported")
        except (EngineUnavailable, EngineTimeout, EngineOverloaded) as error:
            failure = error
        except EngineError as error:
            raise StartError(str(error)) from error
        if time.monotonic() >= end:
            raise StartError(f"{failure} (after {timeout:g} s, as LANDMARKS_STARTUP_TIMEOUT says)") from failure
        if is_first:
            logger.warning("waiting up to %g s for the network: %s", timeout, failure)
            is_first = False
        await asyncio.sleep(0.5)


# ---------------------------------------------------------------- engine


@asynccontextmanager
async def _running_engine(settings: Settings, telemetry: Telemetry) -> AsyncIterator[TritonEngine | LocalEngine]:
    """The engine of the primary model, started."""
    async with _primary_engine(settings, telemetry) as engine:
        try:
            await _start(engine, settings.startup_timeout)
            yield engine
        finally:
            await engine.close()


@asynccontextmanager
async def _primary_engine(settings: Settings, telemetry: Telemetry) -> AsyncIterator[TritonEngine | LocalEngine]:
    """The engine that the settings choose: Tritons that run already, an embedded Triton, or this process itself."""
    if settings.triton_url is not None:
        resolver = _resolver("triton_url", settings.triton_url)
        yield _with_gauge(_triton_engine(settings, resolver, telemetry, _triton_tls(settings)), telemetry)
        return
    repository = model_repository(settings)
    path = model_file(repository, settings.precision)
    if settings.engine == "local":
        yield LocalEngine(path, parallelism(settings))
        return
    triton = _supervisor(settings, repository, telemetry)
    try:
        await triton.start()
        yield _with_gauge(_with_health_probe(_triton_engine(settings, triton, telemetry), triton), telemetry)
    except EmbeddedTritonError as error:
        raise StartError(str(error)) from error
    finally:
        await triton.stop()


def _supervisor(settings: Settings, repository: Path, telemetry: Telemetry) -> TritonSupervisor:
    timeout, otlp = settings.startup_timeout, settings.otlp_endpoint
    config = INT8_CONFIG if settings.precision == "int8" else None
    variables = parallelism(settings).to_environment()
    return TritonSupervisor(
        lambda: EmbeddedTriton(
            repository, start_timeout=timeout, otlp_endpoint=otlp, config_name=config, variables=variables
        ),
        on_restart=telemetry.metrics.triton_restarts.inc,
    )


def _resolver(setting: str, url: str) -> DnsResolver:
    try:
        return DnsResolver(url)
    except ValueError as error:
        raise StartError(f"LANDMARKS_{setting.upper()}: {error}") from error


def _triton_engine(
    settings: Settings, resolver: Resolver, telemetry: Telemetry, tls: TritonTls | None = None
) -> TritonEngine:
    metrics = telemetry.metrics
    return TritonEngine(
        resolver,
        lambda reason: metrics.triton_retries.labels(reason).inc(),
        metrics.triton_retries_forgone.inc,
        tls,
        settings.triton_calls,
    )


def _triton_tls(settings: Settings) -> TritonTls | None:
    """TLS of the connections to Tritons that run elsewhere, if the settings ask for it. Raises StartError."""
    ca, certificate, key = settings.triton_tls_ca, settings.triton_tls_certificate, settings.triton_tls_key
    if (certificate is None) != (key is None) or (ca is None and certificate is not None):
        raise StartError(
            "LANDMARKS_TRITON_TLS_CERTIFICATE and LANDMARKS_TRITON_TLS_KEY belong together, and need "
            "LANDMARKS_TRITON_TLS_CA"
        )
    try:
        return None if ca is None else TritonTls(ca, certificate, key)
    except OSError as error:
        names = ", ".join(str(path) for path in (ca, certificate, key) if path is not None)
        raise StartError(f"LANDMARKS_TRITON_TLS_...: {names} cannot be used: {error}") from error


def _with_gauge(engine: TritonEngine, telemetry: Telemetry) -> TritonEngine:
    """The engine, whose number of healthy endpoints is a metric from now on."""
    telemetry.metrics.triton_endpoints.set_function(lambda: engine.endpoints)
    return engine


def _with_health_probe(engine: TritonEngine, triton: TritonSupervisor) -> TritonEngine:
    """The engine, from whose endpoint the supervisor learns when its Triton hangs."""
    triton.set_health_probe(lambda: engine.endpoints > 0)
    return engine


# ---------------------------------------------------------------- detector


def _detector(settings: Settings, engine: TritonEngine | LocalEngine, executor: Executor) -> Detector:
    """YuNet where the settings name its file, else the model repository's detector. Raises StartError."""
    if settings.yunet_path is None:
        return NetworkDetector(_detector_backend(settings, engine), executor, settings.detection_size)
    try:
        return ThreadedDetector(YuNet(settings.yunet_path), executor)
    except Exception as error:  # OpenCV raises errors of its own, and for a damaged file of many types
        raise StartError(f"LANDMARKS_YUNET_PATH: {settings.yunet_path} cannot be loaded: {error}") from error


def _detector_backend(settings: Settings, engine: TritonEngine | LocalEngine) -> DetectorBackend:
    if isinstance(engine, TritonEngine):
        return TritonDetectorBackend(engine)
    return LocalDetectorBackend(engine, model_path(model_repository(settings), kind=DetectorMetadata))


# ---------------------------------------------------------------- landmarker


@asynccontextmanager
async def _running_landmarker(
    settings: Settings, engine: Engine, executor: Executor, telemetry: Telemetry
) -> AsyncIterator[Landmarker]:
    """The primary model; with a candidate beside it, if there is one, which is started in the background."""
    metrics = telemetry.metrics
    primary = EngineLandmarker(engine, executor)
    async with _candidate_engine(settings, telemetry) as candidate:
        if candidate is None:
            if settings.candidate_share or settings.candidate_share_file:
                logger.warning("a candidate's share is set, but there is no LANDMARKS_CANDIDATE_URL or _REPOSITORY")
            yield primary
            return
        share = Share(settings.candidate_share, settings.candidate_share_file)
        metrics.candidate_share.set_function(share)
        canary = Canary(
            primary,
            EngineLandmarker(candidate, executor),
            share,
            lambda reason: metrics.fallbacks.labels(reason).inc(),
        )
        comparison = ShadowComparison(
            canary,
            settings.compare_share,
            metrics.model_distance.observe,
            lambda reason: metrics.comparisons_dropped.labels(reason).inc(),
        )
        try:
            async with _background_tasks(canary.bring_up(candidate), share.follow()):
                yield comparison
        finally:
            await comparison.close()
            await candidate.close()


@asynccontextmanager
async def _candidate_engine(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Engine | None]:
    """The engine of the candidate, chosen as the primary's is, but not started yet."""
    repository = settings.candidate_repository
    if settings.candidate_url is not None:
        resolver = _resolver("candidate_url", settings.candidate_url)
        yield _triton_engine(settings, resolver, telemetry, _triton_tls(settings))
    elif repository is None:
        yield None
    elif settings.engine == "local":
        yield LocalEngine(model_path(repository, precision=settings.precision), parallelism(settings))
    else:
        triton = _supervisor(settings, repository, telemetry)
        try:
            triton.start_in_background()
            yield _with_health_probe(_triton_engine(settings, triton, telemetry), triton)
        finally:
            await triton.stop()


@asynccontextmanager
async def _background_tasks(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs coroutines in the background, and cancels them on leaving."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
