"""The plausibility of faces: fitted to answers, and how samples are made."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.layout import WFLW98
from landmarks.uncertainty import features_of
from tests.train.miniature import drawn_shape
from train.datasets.face import AnnotatedFace
from train.datasets.image import ArrayImage
from train.evaluation.plausibility import DOUBTED, SQUEEZES, false_samples, fit, mirrored, true_samples

FACE = AnnotatedFace(
    ArrayImage("drawn.png", np.full((300, 300, 3), 90, np.uint8)),
    drawn_shape() * 50 + 150,
    np.array([90.0, 80, 210, 210]),
)


def features(faces: int, squeeze: float, seed: int) -> np.ndarray:
    """Of noisy faces, all squeezed to that share of their width."""
    rng = np.random.default_rng(seed)
    points = (drawn_shape() * [squeeze, 1.0])[None] + rng.normal(0, 0.02, (faces, 98, 2))
    return features_of(points, np.broadcast_to(1e-4 * np.eye(2), (faces, 98, 2, 2)), WFLW98)


def test_squeezed_faces_are_found_and_few_others_are_doubted() -> None:
    fitted = fit(features(1000, 1.0, 1), features(1000, 0.5, 2), WFLW98)
    assert fitted(features(1000, 0.5, 3)).max() < 0.1
    true = fitted(features(1000, 1.0, 4))
    assert (true < 0.5).mean() <= 5 * DOUBTED
    # the bias is chosen by the faces that are fitted to and by their mirror images
    seen = features(1000, 1.0, 1)
    both = np.concatenate([seen, mirrored(seen, WFLW98)])
    assert (fitted(both) < 0.5).mean() == pytest.approx(DOUBTED, abs=0.001)
    assert fitted(mirrored(true_face := features(1, 1.0, 5), WFLW98)) == pytest.approx(fitted(true_face), abs=0.05)


def test_the_mirror_image_of_features_is_that_of_the_mirrored_face() -> None:
    points = drawn_shape() + np.random.default_rng(0).normal(0, 0.1, (98, 2))
    covariances = np.random.default_rng(1).uniform(0.1, 1, (98, 1, 1)) * np.eye(2)
    flip = list(WFLW98.flip)
    expected = features_of(points[flip] * [-1.0, 1.0], covariances[flip], WFLW98)
    assert mirrored(features_of(points, covariances, WFLW98)[None], WFLW98)[0] == pytest.approx(expected)


def test_each_face_is_shown_as_it_is_turned_and_squeezed_both_ways() -> None:
    plain, turned = true_samples(FACE, seed=0, index=7)
    assert plain.points is FACE.points
    assert np.ptp(turned.points, axis=0).prod() > 0
    narrow, low = false_samples(FACE, seed=0, index=7)
    extent = np.ptp(FACE.points, axis=0)
    for squeezed, axis in ((narrow, 0), (low, 1)):
        shares = np.ptp(squeezed.points, axis=0) / extent
        assert 1 / SQUEEZES[1] <= shares[axis] <= 1 / SQUEEZES[0]
        assert shares[1 - axis] == pytest.approx(1)
    again = next(iter(false_samples(FACE, seed=0, index=7)))
    assert np.array_equal(again.box, narrow.box)
    assert not np.array_equal(next(iter(false_samples(FACE, seed=0, index=8))).box, narrow.box)
