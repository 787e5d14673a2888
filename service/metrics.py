"""What Prometheus reads at `/metrics`. One registry for each gateway, so that several live in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.pipeline import Answer

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "landmarks_requests", "Requests answered, by door and code", ["door", "code"], registry=self.registry
        )
        self.images = Counter("landmarks_batch_images", "Images of batches, by code", ["code"], registry=self.registry)
        self.in_flight = Gauge("landmarks_in_flight", "Requests being worked on", registry=self.registry)
        self._stages = Histogram(
            "landmarks_stage_seconds", "Time in each stage of a request", ["stage"], registry=self.registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._faces = Histogram(
            "landmarks_faces", "Faces per answered request", registry=self.registry, buckets=(0, 1, 2, 4, 8, 16, 32)
        )

    def observe(self, answer: Answer) -> None:
        for stage, milliseconds in answer.timings_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)
        self._faces.observe(len(answer.faces))

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self.registry)
