"""Recording of traces by OpenTelemetry's SDK, and their export as OTLP over HTTP. The packages are the extra `otel`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

EXPORT_TIMEOUT: Final = 3.0
"""Seconds in which a batch must be sent, and so the longest that the end of the service waits for a collector."""


def otlp_tracer_provider(endpoint: str) -> TracerProvider:
    """A provider whose spans a thread sends in batches: a collector that does not answer delays no request.

    `endpoint`: the collector's base URL, as in http://127.0.0.1:4318. `shutdown` sends what is left.
    """
    # the SDK gives precedence to OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    resource = Resource.create({SERVICE_NAME: "landmarks", SERVICE_VERSION: version("h3r-landmarks")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
