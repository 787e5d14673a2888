"""Reading a network's maps in several ways at once, plain and together with the mirrored crop: numbers by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecError, CodecSpec, Decoded, decode
from landmarks.layout import FLIP
from train.reading import flip_averaged, flip_averaged_points, flip_averaging_reader, reader

CENTER = CodecSpec(points=2, input_size=64, topk=1)
CORNER = CodecSpec(points=2, input_size=64, topk=1, pixel_rule="corner")
PAIRS = [1, 0]


def spots(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network that finds in its first map what is red, and in its second what is green."""
    cells = crops.reshape(len(crops), 16, 4, 16, 4, 3).astype(np.float32).mean(axis=(2, 4))
    return np.ascontiguousarray(cells[..., :2].transpose(0, 3, 1, 2))


def picture() -> NDArray[np.uint8]:
    """One crop, yellow in the cell of column 5 and row 7: both points lie there, whichever way it is turned."""
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    crops[0, 28:32, 20:24, :2] = 200
    return crops


def test_a_map_is_computed_once_for_all_readings() -> None:
    calls: list[int] = []

    def network(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        calls.append(len(crops))
        return spots(crops)

    found = reader(network, CENTER, [1, 9, "argmax", "quarter", "3x3", "all", "top4"])(picture())
    assert calls == [1]
    assert list(found) == [1, 9, "argmax", "quarter", "3x3", "all", "top4"]


def test_readings_by_number_are_those_that_are_served() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 2, 16, 16)).astype(np.float32)
    found = reader(lambda crops: maps, CENTER, [1, 4])(picture())
    for k in (1, 4):
        for one, other in zip(found[k], decode(maps, CENTER, k), strict=True):
            assert np.array_equal(one, other)


def test_named_decoders_have_their_points_and_the_served_scores() -> None:
    maps = np.zeros((1, 2, 16, 16), np.float32)
    maps[0, :, 7, 5], maps[0, :, 7, 6] = 50.0, 49.0
    found = reader(lambda crops: maps, CENTER, ["argmax", "quarter"])(picture())
    assert found["argmax"].points.tolist() == [[[21.5, 29.5]] * 2]
    assert found["quarter"].points.tolist() == [[[22.5, 29.5]] * 2]
    assert np.array_equal(found["quarter"].scores, decode(maps, CENTER).scores)


def test_a_correction_moves_every_reading() -> None:
    found = reader(spots, CENTER, [1, "argmax"], correction=-0.5)(picture())
    for reading in (1, "argmax"):
        assert found[reading].points.tolist() == [[[19.5, 27.5]] * 2]


def test_unknown_readings_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(CodecError, match="unknown decoder 'best'"):
        reader(spots, CENTER, ["best"])
    with pytest.raises(CodecError, match="topk must lie between 1 and the 256 cells"):
        reader(spots, CENTER, [257])


# ---------------------------------------------------------------- flip-averaged testing


def test_flip_averaging_by_hand() -> None:
    spec = CodecSpec(points=3, input_size=8, topk=1)  # two cells a side
    plain, mirrored = np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.float32)
    plain[0, 0, 0, 0] = 1.0  # point 0 at the top left
    mirrored[0, 1, 0, 1] = 3.0  # seen in the mirror as its partner, at the top right
    crops = np.zeros((1, 8, 8, 3), np.uint8)
    crops[0, 0, 0] = 255

    def network(given: NDArray[np.uint8]) -> NDArray[np.float32]:
        return plain if given[0, 0, 0, 0] else mirrored

    averaged = flip_averaged(network, spec, pairs=[1, 0, 2])(crops)
    wanted = np.zeros((1, 3, 2, 2), np.float32)
    wanted[0, 0, 0, 0] = 2.0
    assert np.array_equal(averaged, wanted)


def test_flip_averaged_networks_treat_both_sides_alike() -> None:
    """Whatever the network, a mirrored crop has the mirrored answer, to the last bit."""
    spec = CodecSpec(points=98, input_size=16, topk=1)
    weights = np.random.default_rng(0).normal(size=(98, 3)).astype(np.float32)

    def network(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = crops[:, ::4, ::4].astype(np.float32)
        return np.asarray(np.einsum("pc,nhwc->nphw", weights, small), np.float32)

    averaged = flip_averaged(network, spec)
    crops = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    assert np.array_equal(averaged(crops[:, :, ::-1]), averaged(crops)[:, list(FLIP), :, ::-1])


def test_maps_under_the_corner_rule_are_not_averaged() -> None:
    with pytest.raises(CodecError, match="average the points instead"):
        flip_averaged(lambda crops: crops.astype(np.float32), CodecSpec(pixel_rule="corner"))


def test_mirrored_points_come_back_swapped_and_averaged() -> None:
    spec = CodecSpec(points=2, input_size=16)
    points = np.array([[[3.0, 5.0], [11.0, 6.0]]], np.float32)
    covariances = np.array([[[[4, 1], [1, 2]], [[8, -2], [-2, 6]]]], np.float32)
    plain = Decoded(points, np.array([[0.5, 0.25]], np.float32), covariances)
    # the mirrored crop: partner first, x counted from the other side of 16 pixels, one pixel off
    turned = np.array([[[[8, 2], [2, 6]], [[2, -1], [-1, 2]]]], np.float32)
    mirrored = Decoded(
        np.array([[[15 - 11.0 - 1.0, 6.0], [15 - 3.0 - 1.0, 7.0]]], np.float32),
        np.array([[0.75, 0.5]], np.float32),
        turned,
    )
    averaged = flip_averaged_points(plain, mirrored, spec, pairs=[1, 0])
    assert averaged.points.tolist() == [[[3.5, 6.0], [11.5, 6.0]]]
    assert averaged.scores.tolist() == [[0.5, 0.5]]
    # the means, and the outer products of half the disagreements, (0.5, 1) and (0.5, 0)
    assert averaged.covariances.tolist() == [[[[3.25, 1.5], [1.5, 3]], [[8.25, -2], [-2, 6]]]]


@pytest.mark.parametrize(
    ("codec", "correction", "wanted"),
    [
        # mirrored crops have mirrored maps, so nothing changes
        (CENTER, 0.0, [21.5, 29.5]),
        # plain x = 4 * 5 = 20; mirrored 4 * 10 = 40, which is 63 - 40 = 23 back
        (CORNER, 0.0, [21.5, 28.0]),
        # plain x = 21.5 + 2; mirrored 41.5 + 2, which is 19.5 back: the correction of x drops out, that of y stays
        (CENTER, 0.5, [21.5, 31.5]),
    ],
)
def test_flip_averaging_by_pixel_rule_and_correction(codec: CodecSpec, correction: float, wanted: list[float]) -> None:
    found = flip_averaging_reader(spots, codec, [1, "argmax"], PAIRS, correction)(picture())
    for reading in (1, "argmax"):
        assert found[reading].points.tolist() == [[wanted, wanted]]


def test_both_crops_count_when_maps_are_averaged() -> None:
    def network(crops: NDArray[np.uint8]) -> NDArray[Any]:
        """The same answer to every crop, mirrored or not."""
        maps = np.zeros((len(crops), 2, 16, 16), np.float32)
        maps[:, 0, 7, 5] = 50.0
        maps[:, 1, 7, 9] = 50.0
        return maps

    # the mirrored maps, back: point 0 in column 15 - 9 = 6, point 1 in column 15 - 5 = 10
    points = flip_averaging_reader(network, CENTER, [2], PAIRS)(picture())[2].points
    assert points.tolist() == [[[4 * 5.5 + 1.5, 29.5], [4 * 9.5 + 1.5, 29.5]]]
