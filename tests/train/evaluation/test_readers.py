"""Reading a network's maps in several ways at once, plain and together with the mirrored crop: numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecError, CodecSpec, NetworkOutput, decode, without_visibility
from landmarks.flip import average_maps
from landmarks.layout import PointLayout
from landmarks.size import Size
from train.evaluation.readers import make_decoder, make_flip_averaging_decoder

CENTER = CodecSpec(points=2, input_size=Size.square(64), topk=1)
CORNER = CodecSpec(points=2, input_size=Size.square(64), topk=1, pixel_rule="corner")
LAYOUT = PointLayout("two", ("right", "left"), flip=(1, 0), groups={"both": (0, 1)}, norm="box")


def spots(crops: NDArray[np.uint8]) -> NetworkOutput:
    """A network that finds in its first map what is red, and in its second what is green."""
    cells = crops.reshape(len(crops), 16, 4, 16, 4, 3).astype(np.float32).mean(axis=(2, 4))
    return without_visibility(np.ascontiguousarray(cells[..., :2].transpose(0, 3, 1, 2)))


def crop() -> NDArray[np.uint8]:
    """One crop, yellow in the cell of column 5 and row 7: both points are there, mirrored or not."""
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    crops[0, 28:32, 20:24, :2] = 200
    return crops


def test_a_map_is_computed_once_for_all_readings() -> None:
    calls: list[int] = []

    def network(crops: NDArray[np.uint8]) -> NetworkOutput:
        calls.append(len(crops))
        return spots(crops)

    found = make_decoder(network, CENTER, [1, 9, "argmax", "quarter", "3x3", "all"])(crop())
    assert calls == [1]
    assert list(found) == [1, 9, "argmax", "quarter", "3x3", "all"]


def test_readings_by_number_are_those_that_are_served() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 2, 16, 16)).astype(np.float32)
    found = make_decoder(lambda crops: without_visibility(maps), CENTER, [1, 4])(crop())
    for k in (1, 4):
        for one, other in zip(found[k], decode(maps, CENTER, k), strict=True):
            assert np.array_equal(one, other)


def test_named_decoders_have_their_points_and_the_served_scores() -> None:
    maps = np.zeros((1, 2, 16, 16), np.float32)
    maps[0, :, 7, 5], maps[0, :, 7, 6] = 50.0, 49.0
    found = make_decoder(lambda crops: without_visibility(maps), CENTER, ["argmax", "quarter"])(crop())
    assert found["argmax"].points.tolist() == [[[21.5, 29.5]] * 2]
    assert found["quarter"].points.tolist() == [[[22.5, 29.5]] * 2]
    assert np.allclose(found["quarter"].scores, decode(maps, CENTER).scores, atol=1e-6)


def test_a_correction_moves_every_reading() -> None:
    found = make_decoder(spots, CENTER, [1, "argmax"], correction=-0.5)(crop())
    for reading in (1, "argmax"):
        assert found[reading].points.tolist() == [[[19.5, 27.5]] * 2]


def test_unknown_readings_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(CodecError, match="decoder must be one of"):
        make_decoder(spots, CENTER, ["best"])
    with pytest.raises(CodecError, match="topk must lie between 1 and the 256 cells"):
        make_decoder(spots, CENTER, [257])


# ---------------------------------------------------------------- flip-averaged testing


@pytest.mark.parametrize(
    ("codec", "correction", "wanted"),
    [
        # mirrored crops have mirrored points, so nothing changes
        (CENTER, 0.0, [21.5, 29.5]),
        # plain x = 4 * 5 = 20; mirrored 4 * 10 = 40, which is 63 - 40 = 23 back
        (CORNER, 0.0, [21.5, 28.0]),
        # plain x = 21.5 + 2; mirrored 41.5 + 2, which is 19.5 back: the correction of x drops out, that of y stays
        (CENTER, 0.5, [21.5, 31.5]),
    ],
)
def test_flip_averaging_under_both_pixel_rules_and_with_a_correction(
    codec: CodecSpec, correction: float, wanted: list[float]
) -> None:
    found = make_flip_averaging_decoder(spots, codec, [1, "argmax"], LAYOUT, correction)(crop())
    for reading in (1, "argmax"):
        assert found[reading].points.tolist() == [[wanted, wanted]]


@pytest.mark.parametrize(
    ("codec", "wanted"),
    [
        # both maps have their spot in column 5 and row 7
        (CENTER, [21.5, 29.5]),
        # the mirrored crop's spot is in column 10, mirrored back in 15 - 10 = 5, moved by one cell in 6: halfway
        (CORNER, [22.0, 28.0]),
    ],
)
def test_averaged_maps_under_both_pixel_rules(codec: CodecSpec, wanted: list[float]) -> None:
    found = make_flip_averaging_decoder(spots, codec, [2], LAYOUT, flip="maps")(crop())
    assert found[2].points[0] == pytest.approx(np.array([wanted, wanted]), abs=1e-3)


def test_averaging_maps_weighs_both_alike_whatever_the_level_of_their_logits() -> None:
    """A sure map in column 3, and in the mirrored crop one as sure in column 11, of logits higher by 7: 15 - 11 = 4."""
    maps = np.zeros((2, 2, 16, 16), np.float32)
    maps[0, :, 7, 3], maps[1, :, 7, 11] = 50.0, 50.0
    maps[1] += 7.0
    averaged = average_maps(maps, CENTER, LAYOUT)
    assert averaged.shape == (1, 2, 16, 16)
    assert np.exp(averaged[0, 0, 7, [2, 3, 4]]) == pytest.approx([0.0, 0.5, 0.5], abs=1e-6)
