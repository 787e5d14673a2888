"""The metrics that Prometheus scrapes at `/metrics`. Each gateway has its own registry: a process may hold several.

The label `door` is the former name of `protocol`. It is kept beside it for one release, with the same value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from service.answer import Answer, Face, Role

ApiProtocol = Literal["rest", "grpc"]
"""The API that a request came by."""

ANSWERED_OR_FAILED: Final = ("ok", "internal", "unavailable", "deadline_exceeded")
"""Codes of what the service could answer: deploy/prometheus/alerts.yml has the objective for their shares."""
SECONDS: Final = (
    *(round(step * decade, 6) for decade in (1e-3, 1e-2, 1e-1, 1.0) for step in (1, 1.5, 2, 3, 5, 7)),
    10.0,
)
"""Bucket bounds from 1 ms to 10 s, at most a factor of 1.7 apart, which bounds the error of a quantile."""
SCORES: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))
SPREADS: Final = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5)
DISTANCES: Final = (0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)

_PROTOCOL: Final = ("protocol", "door")


class Metrics:
    """All metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered, by protocol and code", *_PROTOCOL, "code")
        self.images = self._counter("batch_images", "Images of batches, by code", "code")
        # these start at zero, so that the first failure of a process counts in a rate
        for code in ANSWERED_OR_FAILED:
            self.images.labels(code)
            for protocol in get_args(ApiProtocol):
                self._requests.labels(protocol, protocol, code)
        self._request_seconds = self._histogram(
            "request_seconds", "Time from admission to the answer, of requests with code ok", SECONDS, *_PROTOCOL
        )
        self.in_flight = self._gauge("in_flight", "Requests in flight")
        self.in_flight_limit = self._gauge("in_flight_limit", "Limit of requests in flight; further ones are rejected")
        self._rejections = self._counter(
            "rejections", "Requests and images of batches rejected, by reason", *_PROTOCOL, "reason"
        )
        self.connections_closed = self._counter(
            "connections_closed",
            "Connections closed at their limit: idle ones that gave way to a new one, and new ones refused",
            "reason",
        )
        self.certificate_expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate of both APIs expires; 0 without TLS"
        )
        self.triton_seconds = self._histogram(
            "triton_seconds", "Round-trip time of a call to Triton, by its result", SECONDS, "code"
        )
        self.queue_seconds = self._histogram(
            "queue_seconds",
            "Time that a request waits for its first call, by the model that is called",
            SECONDS,
            "model",
        )
        for model in ("landmarks", "detector"):
            self.queue_seconds.labels(model)
        self.triton_endpoints = self._gauge("triton_endpoints", "Tritons that requests are sent to now")
        self.triton_restarts = self._counter(
            "triton_restarts", "Exits and hangs of Tritons that this process has started, after which it starts another"
        )
        self.triton_retries = self._counter("triton_retries", "Calls sent to another Triton, by reason", "reason")
        self.triton_retries_forgone = self._counter(
            "triton_retries_forgone", "Calls that found a full queue and were not retried: the budget was spent"
        )
        self._stages = self._histogram("stage_seconds", "Time in each stage of a request", SECONDS, *_PROTOCOL, "stage")
        self._stage: dict[tuple[ApiProtocol, str], Histogram] = {}
        self._faces = self._histogram("faces", "Faces per answered image", (0, 1, 2, 4, 8, 16, 32))
        self._faces_refined = self._counter("faces_refined", "Answered faces that were cropped and answered twice")
        self._faces_rejected = self._counter("faces_rejected", "Detected faces not answered because of a low score")
        self._scores = self._histogram(
            "face_score",
            "Score of a face: about the probability that its points err by less than 10 % of its inter-ocular distance",
            SCORES,
        )
        self._spreads = self._histogram(
            "face_spread", "Standard deviation of a face's points over its inter-ocular distance", SPREADS
        )
        self._answers = self._counter("answers", "Images answered, by the model's role: primary, candidate", "role")
        for role in get_args(Role):
            self._answers.labels(role)  # starts at zero, so that the first answer counts in a rate
        self.fallbacks = self._counter(
            "candidate_fallbacks", "Images that the primary answered instead of the candidate, by reason", "reason"
        )
        self.candidate_share = self._gauge("candidate_share", "Share of the images that are sent to the candidate")
        self.model_distance = self._histogram(
            "model_distance",
            "Mean distance between the two models' points of a face over its inter-ocular distance",
            DISTANCES,
        )
        self.comparisons_dropped = self._counter(
            "comparisons_dropped", "Images selected for a comparison of the models that were not compared", "reason"
        )
        ProcessCollector(registry=self.registry)

    def count_request(self, protocol: ApiProtocol, code: str, seconds: float) -> None:
        """A request was answered with this code, `seconds` after its admission."""
        self._requests.labels(protocol, protocol, code).inc()
        if code == "ok":
            self._request_seconds.labels(protocol, protocol).observe(seconds)

    def count_rejection(self, protocol: ApiProtocol, reason: str) -> None:
        """A request, or an image of a batch, was refused because of load, or for want of an API key."""
        self._rejections.labels(protocol, protocol, reason).inc()

    def observe_stage(self, protocol: ApiProtocol, name: str, seconds: float) -> None:
        """A stage of a request has ended."""
        child = self._stage.get((protocol, name))
        if child is None:  # looking it up by its labels takes as long as observing
            child = self._stage[protocol, name] = self._stages.labels(protocol, protocol, name)
        child.observe(seconds)

    def observe(self, answer: Answer) -> None:
        """An image was answered: the number of its faces, and how certain their points are.

        The last needs no ground truth, and shows when the images differ from those of the training.
        """
        self._answers.labels(answer.role).inc()
        self._faces.observe(len(answer.faces))
        self._faces_rejected.inc(answer.rejected)
        self._faces_refined.inc(sum(face.passes > 1 for face in answer.faces))
        for face in answer.faces:
            self._scores.observe(float(face.score))
            self._spreads.observe(spread(face))

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"landmarks_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"landmarks_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"landmarks_{name}", text, labels, registry=self.registry, buckets=buckets)


def spread(face: Face) -> float:
    """Root of the points' mean variance along an axis, over the distance between the outer corners of the eyes."""
    variance = float(face.covariances[:, ::2].sum()) / (2 * len(face.covariances))
    return math.sqrt(max(variance, 0.0)) / max(float(face.inter_ocular), 1e-6)
