"""What Prometheus reads at `/metrics`. One registry for each gateway, so that several live in one process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from service.answer import Answer, Face, Role

SECONDS = (*(round(step * decade, 6) for decade in (1e-3, 1e-2, 1e-1, 1.0) for step in (1, 1.5, 2, 3, 5, 7)), 10.0)
"""Bounds at most 1.7 apart from 1 ms to 10 s: a quantile read from them is never further off."""
SCORES = tuple(round(0.05 * step, 2) for step in range(1, 20))
SPREADS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5)
DISTANCES = (0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered, by door and code", "door", "code")
        self.request_seconds = self._histogram(
            "request_seconds", "Time from admission to the answer, of requests answered with code ok", SECONDS, "door"
        )
        self.images = self._counter("batch_images", "Images of batches, by code", "code")
        self.in_flight = self._gauge("in_flight", "Requests being worked on")
        self.in_flight_limit = self._gauge("in_flight_limit", "Requests worked on at a time; one more is turned away")
        self.rejections = self._counter("rejections", "Requests turned away, by reason", "door", "reason")
        self.triton_seconds = self._histogram(
            "triton_seconds", "Time of a call to Triton, there and back, by what came of it", SECONDS, "code"
        )
        self.triton_endpoints = self._gauge("triton_endpoints", "Tritons that requests are sent to now")
        self.triton_retries = self._counter("triton_retries", "Calls sent to another Triton, by reason", "reason")
        self._stages = self._histogram("stage_seconds", "Time in each stage of a request", SECONDS, "door", "stage")
        self._stage: dict[tuple[str, str], Histogram] = {}
        self._faces = self._histogram("faces", "Faces per answered image", (0, 1, 2, 4, 8, 16, 32))
        self._scores = self._histogram("face_score", "Mean score of a face's points", SCORES)
        self._spreads = self._histogram(
            "face_spread", "Standard deviation of a face's points over its inter-ocular distance", SPREADS
        )
        self._answers = self._counter("answers", "Images answered, by the model's role: primary, candidate", "role")
        for role in get_args(Role):
            self._answers.labels(role)  # from zero on, so that the first answer is seen as a rate
        self.fallbacks = self._counter(
            "candidate_fallbacks", "Images that the primary answered in the candidate's place, by reason", "reason"
        )
        self.candidate_share = self._gauge("candidate_share", "Share of the images that the candidate is asked for")
        self.model_distance = self._histogram(
            "model_distance",
            "Mean distance between the two models' points of a face over its inter-ocular distance",
            DISTANCES,
        )
        self.comparisons_dropped = self._counter(
            "comparisons_dropped", "Images that the two models were not compared on after all, by reason", "reason"
        )
        ProcessCollector(registry=self.registry)

    def stage(self, door: str, name: str, seconds: float) -> None:
        """One stage of one request has ended."""
        child = self._stage.get((door, name))
        if child is None:  # to look it up by its labels takes as long as to observe
            child = self._stage[door, name] = self._stages.labels(door, name)
        child.observe(seconds)

    def observe(self, answer: Answer) -> None:
        """An answer's faces: how many, and what tells without labels that they are no longer those of the training."""
        self._answers.labels(answer.role).inc()
        self._faces.observe(len(answer.faces))
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
