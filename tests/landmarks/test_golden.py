"""The golden answer: stated by a model, and what of it is noticed when it is answered differently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landmarks import codec
from landmarks.codec import CodecSpec, Decoded, decode_output
from landmarks.golden import GoldenError, check_golden_answer, golden_crop, with_golden_answer
from landmarks.layout import PointLayout
from landmarks.metadata import ModelMetadata
from landmarks.repository import model_path
from landmarks.size import Size
from landmarks.tensors import Precision

LAYOUT = PointLayout("two", ("right", "left"), (1, 0), {"both": (0, 1)}, "box")
METADATA = ModelMetadata("tiny", CodecSpec(points=2), 1.25, "run", ("faces",), layout=LAYOUT)


def answer(
    points: float = 0.0, scores: float = 0.0, covariances: float = 0.0, visibility: float = 0.0, faces: int = 1
) -> Decoded:
    """Two points of traces 4 and 8, each number of the last face and point wrong by as much."""
    decoded = Decoded(
        np.array([[[10.00049, 20.0], [30.0, 40.0]]] * faces, np.float32),
        np.array([[0.5, 0.90004]] * faces, np.float32),
        np.array([[[[3.0, 0.5], [0.5, 1.0]], [[4.0, -1.0], [-1.0, 4.0]]]] * faces, np.float32),
        np.array([[0.25, 0.75]] * faces, np.float32),
    )
    decoded.points[-1, 1, 1] += points
    decoded.scores[-1, 1] += scores
    decoded.covariances[-1, 1, 0, 1] += covariances
    decoded.visibility[-1, 1] -= visibility
    return decoded


STATED = with_golden_answer(METADATA, answer())


def test_the_answer_is_stated_rounded() -> None:
    assert STATED.golden_points == ((10.0, 20.0), (30.0, 40.0))
    assert STATED.golden_scores == (0.5, 0.9)
    assert STATED.golden_covariances == ((3.0, 0.5, 1.0), (4.0, -1.0, 4.0))
    assert ModelMetadata.from_json(STATED.to_json()) == STATED


@pytest.mark.parametrize(
    "decoded",
    [answer(), answer(faces=8), answer(points=0.049, scores=0.0019, covariances=0.002 * 8.0, visibility=0.0099)],
)
def test_what_other_kernels_may_change(decoded: Decoded) -> None:
    check_golden_answer(STATED, decoded)


@pytest.mark.parametrize(
    ("decoded", "message"),
    [
        (answer(points=0.051, faces=8), "answered 0.051 pixels off in a batch of 8: wrong weights"),
        (answer(points=np.nan), "answered nan pixels off in a batch of 1"),
        (answer(scores=0.003), "scores are 0.0030 off in a batch of 1: a decoder of another release"),
        (answer(covariances=0.002 * 8.2), "covariances are 0.20 % off in a batch of 1"),
        (answer(visibility=0.02), "visibility is 0.0200 off in a batch of 1"),
        (answer(covariances=-0.081, faces=8), "covariances are 1.00 % off in a batch of 8"),
    ],
)
def test_what_is_noticed(decoded: Decoded, message: str) -> None:
    with pytest.raises(GoldenError, match=message):
        check_golden_answer(STATED, decoded)


def test_the_rounding_of_an_almost_certain_point_does_not_count() -> None:
    certain = answer()._replace(covariances=np.full((1, 2, 2, 2), 4.4e-5, np.float32))
    assert with_golden_answer(METADATA, certain).golden_covariances == ((0.0, 0.0, 0.0),) * 2
    check_golden_answer(with_golden_answer(METADATA, certain), certain)


def test_models_exported_before_are_checked_by_their_points_alone() -> None:
    before = replace(STATED, golden_scores=(), golden_covariances=(), golden_visibility=())
    check_golden_answer(before, answer(scores=0.4, covariances=1.0, visibility=0.5))
    with pytest.raises(GoldenError, match="pixels off"):
        check_golden_answer(before, answer(points=1.0))
    with pytest.raises(GoldenError, match="no golden points"):
        check_golden_answer(METADATA, answer())


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_shipped_models_are_answered_as_stated_and_a_smaller_window_is_noticed(
    model_repository: Path, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="the serving dependencies are not installed")
    from landmarks.runtime import Network  # needs OpenVINO

    network = Network(model_path(model_repository, precision=precision))
    assert len(network.metadata.golden_scores) == 98
    output = network(golden_crop()[None])
    check_golden_answer(network.metadata, decode_output(output, network.metadata.codec))
    monkeypatch.setattr(codec, "MOMENT_WINDOW", 7)
    with pytest.raises(GoldenError, match=r"scores|covariances"):
        check_golden_answer(network.metadata, decode_output(output, network.metadata.codec))


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_golden_crop_is_the_same_image_at_every_size(size: int) -> None:
    crop = golden_crop(Size.square(size))
    assert crop.shape == (size, size, 3)
    # mean colour of the image: warm skin, so red above blue
    assert np.abs(crop.mean(axis=(0, 1)) - golden_crop().mean(axis=(0, 1))).max() < 1
    assert crop[..., 0].mean() > crop[..., 2].mean()
