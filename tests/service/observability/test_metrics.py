"""What the metrics say, on numbers by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from service.answer import Answer, Face, ImageSize
from service.observability.metrics import SECONDS, Metrics, spread
from tests.fakes import MODEL


def face(score: float, variance: float, inter_ocular: float = 100.0) -> Face:
    covariances = np.tile(np.array([[variance, 5.0, variance]], np.float32), (98, 1))
    box = np.zeros(4, np.float32)
    points, scores = np.zeros((98, 2), np.float32), np.full(98, score, np.float32)
    return Face(box, "given", None, np.float32(score), np.float32(inter_ocular), points, scores, covariances)


def samples(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_bounds_resolve_a_millisecond_to_ten_seconds():
    assert (SECONDS[0], SECONDS[-1]) == (0.001, 10.0)
    assert len(set(SECONDS)) == len(SECONDS) == 25
    assert max(b / a for a, b in pairwise(SECONDS)) < 1.7


def test_spread_is_a_standard_deviation_over_the_distance_of_the_eyes():
    assert spread(face(0.9, variance=4.0)) == pytest.approx(0.02)
    uneven = face(0.9, 0.0)
    uneven.covariances[:, 0] = 8.0  # xx alone: the mean of both axes counts
    assert spread(uneven) == pytest.approx(0.02)
    assert math.isfinite(spread(face(0.9, 1.0, inter_ocular=0.0)))


def test_answers_tell_of_drift():
    metrics = Metrics()
    metrics.observe(Answer(MODEL, ImageSize(8, 8), (face(0.91, 4.0), face(0.42, 100.0)), {}, rejected=3))
    metrics.observe(Answer(MODEL, ImageSize(8, 8), (), {}))
    seen = samples(metrics)
    assert seen["landmarks_face_score_count"] == 2
    assert seen["landmarks_face_score_sum"] == pytest.approx(1.33)
    assert seen['landmarks_face_score_bucket{le="0.5"}'] == 1  # the share under a threshold
    assert seen['landmarks_face_spread_bucket{le="0.02"}'] == 1
    assert seen["landmarks_face_spread_sum"] == pytest.approx(0.12)
    assert seen['landmarks_faces_bucket{le="0.0"}'] == 1
    assert seen["landmarks_faces_sum"] == 2
    assert seen["landmarks_faces_rejected_total"] == 3


def test_answers_are_counted_by_the_models_role():
    metrics = Metrics()
    for role in ("candidate", "primary", "candidate"):
        metrics.observe(Answer(MODEL, ImageSize(8, 8), (), {}, role=role))
    seen = samples(metrics)
    assert seen['landmarks_answers_total{role="primary"}'] == 1
    assert seen['landmarks_answers_total{role="candidate"}'] == 2


def test_the_process_tells_of_itself():
    assert samples(Metrics())["process_resident_memory_bytes"] > 1e6
