"""Every decoder of the registry: numbers by hand, then properties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from landmarks.codec import CodecError, CodecSpec, decode
from landmarks.decoders import DECODER_HELP, DECODERS, DEFAULT_DECODER, Coordinates, strongest_cells
from landmarks.size import Size

LOW = -100.0


def read(name: str, maps: NDArray[np.float32], k: int = 1) -> Coordinates:
    return DECODERS[name].read(maps, strongest_cells(maps, k))


def sparse(cells: dict[tuple[int, int], float], rows: int = 8, columns: int = 8) -> NDArray[np.float32]:
    """One map [1, rows, columns] of LOW but for the given (column, row) cells."""
    maps = np.full((1, rows, columns), LOW, np.float32)
    for (column, row), value in cells.items():
        maps[0, row, column] = value
    return maps


# all values of a map differ, so that no decoder has to choose between equal cells
distinct_maps = st.permutations(range(64)).map(lambda ranks: np.array(ranks, np.float32).reshape(1, 8, 8) / 4)
# few values, so that most cells have equals
tied_maps = arrays(np.float32, (2, 8, 8), elements=st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0]))


# single precision holds them exactly, and whatever integer is added to them
integer_maps = arrays(np.float32, (1, 1, 8, 8), elements=st.integers(-20, 20).map(float))


# ---------------------------------------------------------------- the strongest cells


@pytest.mark.parametrize("k", [1, 7, 8, 64])
def test_the_logits_of_the_strongest_cells_keep_their_precision(k: int) -> None:
    assert strongest_cells(np.zeros((1, 8, 8), np.float32), k).logits.dtype == np.float32


def test_equal_cells_below_the_maximum_come_in_row_major_order() -> None:
    # the row of the maximum comes after the other one, and both hold a 1
    maps = sparse({(0, 5): 3.0, (1, 5): 1.0, (0, 2): 2.0, (1, 2): 1.0})
    logits, cells = strongest_cells(maps, 3)
    assert cells.tolist() == [[5 * 8 + 0, 2 * 8 + 0, 2 * 8 + 1]]
    assert logits.tolist() == [[3.0, 2.0, 1.0]]


def test_of_equal_rows_the_first_hold_the_strongest_cells() -> None:
    maps = np.zeros((1, 8, 8), np.float32)
    assert strongest_cells(maps, 7).cells.tolist() == [[0, 1, 2, 3, 4, 5, 6]]


@given(maps=tied_maps, k=st.integers(1, 64))
def test_strongest_cells_are_those_of_a_full_sort_ties_included(maps: NDArray[np.float32], k: int) -> None:
    logits, cells = strongest_cells(maps, k)
    flat = maps.reshape(2, 64)
    expected = np.argsort(-flat, axis=1, kind="stable")[:, :k]
    assert_array_equal(cells, expected)
    assert_array_equal(logits, np.take_along_axis(flat, expected, axis=1))


# ---------------------------------------------------------------- by hand


def test_decoders_by_hand() -> None:
    # two cells of equal weight, one of a tenth of it, in a row
    maps = sparse({(3, 4): math.log(0.5), (4, 4): math.log(0.5), (6, 4): math.log(0.05)})
    assert read("argmax", maps).tolist() == [[3.0, 4.0]]
    assert read("topk", maps, 2)[0] == pytest.approx([3.5, 4.0])
    assert read("topk", maps, 3)[0] == pytest.approx([(3 * 0.5 + 4 * 0.5 + 6 * 0.05) / 1.05, 4.0])
    assert read("3x3", maps)[0] == pytest.approx([3.5, 4.0])
    assert read("all", maps)[0] == pytest.approx([(3 * 0.5 + 4 * 0.5 + 6 * 0.05) / 1.05, 4.0])


def test_the_quarter_shift_goes_to_the_larger_side() -> None:
    maps = sparse({(3, 4): 5.0, (4, 4): 1.0, (2, 4): 0.5, (3, 3): 2.0})
    assert read("quarter", maps).tolist() == [[3.25, 3.75]]


def test_the_quarter_shift_stays_on_the_map() -> None:
    assert read("quarter", sparse({(0, 4): 5.0, (1, 4): 1.0, (0, 5): 1.0})).tolist() == [[0.0, 4.25]]
    assert read("quarter", sparse({(7, 0): 5.0, (6, 0): 1.0, (7, 1): 1.0})).tolist() == [[7.0, 0.0]]


def test_the_neighbourhood_ends_with_the_map() -> None:
    weights = {(0, 0): math.log(0.6), (1, 1): math.log(0.2), (2, 0): math.log(0.5)}
    assert read("3x3", sparse(weights))[0] == pytest.approx([0.25, 0.25])
    # nor does it continue at the other end of the row
    weights = {(7, 3): math.log(0.6), (6, 3): math.log(0.2), (0, 4): math.log(0.5)}
    assert read("3x3", sparse(weights))[0] == pytest.approx([6.75, 3.0])


# ---------------------------------------------------------------- properties

NAMES_AND_K = [("argmax", 1), ("quarter", 1), ("topk", 1), ("topk", 4), ("topk", 9), ("3x3", 1), ("all", 1)]


@pytest.mark.parametrize(("name", "k"), NAMES_AND_K)
@given(column=st.integers(0, 11), row=st.integers(0, 7))
def test_every_decoder_recovers_a_lone_cell(name: str, k: int, column: int, row: int) -> None:
    maps = sparse({(column, row): 0.0}, rows=8, columns=12)
    assert read(name, maps, k)[0] == pytest.approx([column, row], abs=1e-9)


@given(maps=distinct_maps)
def test_every_decoder_follows_a_transposed_or_mirrored_map(maps: NDArray[np.float32]) -> None:
    for name, k in NAMES_AND_K:
        u = read(name, maps, k)
        assert read(name, maps.swapaxes(1, 2), k) == pytest.approx(u[:, ::-1], abs=1e-9), name
        assert read(name, maps[:, :, ::-1], k) == pytest.approx(np.array([7, 0]) + [-1, 1] * u, abs=1e-9), name


@pytest.mark.parametrize("name", DECODERS)
def test_coordinates_are_in_double_precision(name: str) -> None:
    assert read(name, sparse({(3, 4): 0.0})).dtype == np.float64


@given(maps=distinct_maps)
def test_quarter_shift_moves_by_a_quarter_or_not_at_all(maps: NDArray[np.float32]) -> None:
    peak, shifted = read("argmax", maps), read("quarter", maps)
    at_edge = (peak == 0) | (peak == 7)
    assert_array_equal(np.abs(shifted - peak), np.where(at_edge, 0.0, 0.25))


@given(maps=tied_maps)
def test_topk_of_one_is_argmax_and_of_all_is_the_expectation(maps: NDArray[np.float32]) -> None:
    assert_array_equal(read("topk", maps, 1), read("argmax", maps))
    assert read("topk", maps, 64) == pytest.approx(read("all", maps), abs=1e-9)


# ---------------------------------------------------------------- as a codec serves them

SPEC = CodecSpec(points=1, input_size=Size.square(32), topk=4, covariance_scale=2.0)
# three cells in a row, of half, a quarter and a quarter of the probability; 4 is the codec's k
ROW = sparse({(2, 4): math.log(2), (3, 4): 0.0, (7, 4): 0.0})[None]


@pytest.mark.parametrize(
    ("decoder", "topk", "column", "score"),
    [
        (None, None, (2 * 2 + 3 + 7) / 4, 1.0),
        ("topk", None, (2 * 2 + 3 + 7) / 4, 1.0),
        (None, 2, (2 * 2 + 3) / 3, 0.75),
        ("argmax", None, 2.0, 0.5),
        ("argmax", 1, 2.0, 0.5),
        # the score of the others is the share of the codec's own k
        ("quarter", None, 2.25, 1.0),
        ("3x3", None, (2 * 2 + 3) / 3, 1.0),
        ("all", None, (2 * 2 + 3 + 7) / 4, 1.0),
    ],
)
def test_points_scores_and_covariances_by_hand(
    decoder: str | None, topk: int | None, column: float, score: float
) -> None:
    decoded = decode(ROW, SPEC, topk, decoder)
    assert decoded.points[0, 0] == pytest.approx([4 * column + 1.5, 4 * 4 + 1.5], abs=1e-5)
    assert decoded.scores[0, 0] == pytest.approx(score)
    # second moments about the decoded point, whichever decoder gave it
    variance = (2 * (2 - column) ** 2 + (3 - column) ** 2 + (7 - column) ** 2) / 4
    assert decoded.covariances[0, 0, 0, 0] == pytest.approx(2.0 * 16 * variance, rel=1e-5)


@given(maps=integer_maps, constant=st.sampled_from([-1000, -1, 1, 1000]))
def test_a_constant_added_to_all_logits_changes_nothing(maps: NDArray[np.float32], constant: int) -> None:
    for name in DECODERS:
        before, after = decode(maps, SPEC, decoder=name), decode(maps + constant, SPEC, decoder=name)
        for one, other in zip(before, after, strict=True):
            assert_array_equal(one, other, err_msg=name)


@given(maps=arrays(np.float32, (2, 1, 8, 8), elements=st.floats(-20, 20, width=32)))
def test_argmax_is_topk_of_one_to_the_last_bit(maps: NDArray[np.float32]) -> None:
    for one, other in zip(decode(maps, SPEC, decoder="argmax"), decode(maps, SPEC, topk=1), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("decoder", "topk", "message"),
    [
        ("best", None, "decoder must be one of topk, argmax, quarter, 3x3, all, not 'best'"),
        ("", None, "decoder must be one of"),
        (5, None, "decoder must be one of .*, not 5"),
        (None, True, "topk must be an integer, not True"),
        (None, "9", "topk must be an integer, not '9'"),
        ("argmax", 2, "decoder argmax takes no topk"),
        ("3x3", 4, "decoder 3x3 takes no topk"),
        ("all", 64, "decoder all takes no topk"),
        ("topk", 0, "between 1 and the 64 cells"),
        ("argmax", 0, "decoder argmax takes no topk"),
        (None, 65, "between 1 and the 64 cells"),
    ],
)
def test_what_a_request_cannot_have(decoder: Any, topk: Any, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        decode(ROW, SPEC, topk, decoder)


def test_the_registry_describes_itself() -> None:
    assert DEFAULT_DECODER == "topk"
    assert [name for name, decoder in DECODERS.items() if decoder.takes_topk] == ["topk"]
    assert all(f"{name}: " in DECODER_HELP for name in DECODERS)
