from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from landmarks.codec import (
    CodecError,
    CodecSpec,
    Quantizer,
    decode,
    encode,
    face_spread,
    quantize,
)
from landmarks.size import Size

SPEC = CodecSpec()
PAPER = CodecSpec(pixel_rule="corner")
TINY = CodecSpec(points=1, input_size=Size.square(16), stride=4, topk=1)  # one map of 4 x 4 cells

strides = st.sampled_from([2, 4, 8])


def logits_of(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probability).astype(np.float32)


# ---------------------------------------------------------------- pixel rules


def test_center_rule_by_hand() -> None:
    # stride 4: cell 0 covers pixels 0..3, so its centre is pixel 1.5
    assert SPEC.to_pixels(np.array([0.0, 1.0, 63.0])).tolist() == [1.5, 5.5, 253.5]
    assert SPEC.to_cells(np.array([1.5, 0.0, 127.5])).tolist() == [0.0, -0.375, 31.5]


def test_corner_rule_by_hand() -> None:
    assert PAPER.to_pixels(np.array([0.0, 1.0, 63.0])).tolist() == [0.0, 4.0, 252.0]
    assert PAPER.to_cells(np.array([6.0])).tolist() == [1.5]


@given(st.floats(-1000, 1000), strides)
def test_a_mirrored_crop_has_mirrored_cells_under_the_center_rule(x: float, stride: int) -> None:
    spec = CodecSpec(input_size=Size.square(256), stride=stride)
    mirrored = spec.to_cells(np.array(255 - x))
    assert mirrored == pytest.approx(spec.columns - 1 - float(spec.to_cells(np.array(x))), abs=1e-9)


# ---------------------------------------------------------------- the paper's Table 1 and theorems


@pytest.mark.parametrize(("quantizer", "bias"), [("floor", -0.5), ("round", 0.0), ("ceil", 0.5), ("random", 0.0)])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_table_1_bias_of_the_quantizers(quantizer: Quantizer, bias: float, stride: int) -> None:
    """Mean of decoded minus true over evenly spread coordinates: -s/2, 0, +s/2, and 0."""
    spec = CodecSpec(input_size=Size.square(256), stride=stride, pixel_rule="corner")
    x = 8 + 160 * (np.arange(200_000) + 0.5) / 200_000
    cells = quantize(spec.to_cells(x), quantizer, np.random.default_rng(1))
    assert (spec.to_pixels(cells.astype(np.float64)) - x).mean() == pytest.approx(bias * stride, abs=0.02 * stride)


@given(st.tuples(st.floats(0, 252), st.floats(0, 252)), strides, st.sampled_from(["center", "corner"]))
def test_theorem_1_round_errs_by_at_most_half_the_diagonal_of_a_cell(
    point: tuple[float, float], stride: int, rule: str
) -> None:
    spec = CodecSpec(stride=stride, pixel_rule=rule)  # type: ignore[arg-type]
    cells = quantize(spec.to_cells(np.array(point)), "round")
    error = np.linalg.norm(spec.to_pixels(cells.astype(np.float64)) - point)
    assert error <= math.sqrt(2) * stride / 2 + 1e-9


@given(st.floats(0, 63))
def test_theorem_2_randomized_rounding_is_unbiased(u: float) -> None:
    draws = quantize(np.full(4000, u), "random", np.random.default_rng(7)).astype(np.float64)
    assert set(draws) <= {math.floor(u), math.floor(u) + 1}
    fraction = u - math.floor(u)
    # five standard deviations of the mean of 4000 draws
    assert abs(draws.mean() - u) <= 5 * math.sqrt(fraction * (1 - fraction) / 4000) + 1e-9


def expected_heatmap(point: tuple[float, float], spec: CodecSpec) -> NDArray[np.float64]:
    """[1, 1, rows, columns]: the probability of each cell under randomized rounding, of a point in crop pixels."""
    x, y = spec.to_cells(np.array(point))
    columns, rows = (
        np.maximum(0.0, 1.0 - np.abs(u - np.arange(count))) for u, count in ((x, spec.columns), (y, spec.rows))
    )
    heatmap: NDArray[np.float64] = (rows[:, None] * columns)[None, None]
    return heatmap


@given(st.tuples(st.floats(1.5, 253.5), st.floats(1.5, 253.5)))
def test_theorem_2_the_expected_heatmap_gives_the_coordinate_back(point: tuple[float, float]) -> None:
    spec = CodecSpec(points=1)
    heatmap = expected_heatmap(point, spec)
    assert heatmap.sum() == pytest.approx(1.0)
    assert np.count_nonzero(heatmap) <= 4
    # float32 spacing at 256 is 3e-5
    assert_allclose(decode(logits_of(heatmap), spec, topk=4).points[0, 0], point, atol=4e-5, rtol=0)


def test_randomized_rounding_draws_x_and_y_independently_and_anew() -> None:
    spec = CodecSpec(points=1, pixel_rule="corner")
    points = np.full((40_000, 2), [4 * 10.5, 4 * 20.25])
    cells = encode(points, spec, np.random.default_rng(3)).cells
    found = {tuple(cell): share / 40_000 for cell, share in zip(*np.unique(cells, axis=0, return_counts=True))}  # noqa: B905
    expected = {(10, 20): 0.375, (11, 20): 0.375, (10, 21): 0.125, (11, 21): 0.125}
    assert found == pytest.approx(expected, abs=0.01)


def test_random_rounding_needs_a_generator() -> None:
    with pytest.raises(CodecError, match=r"^randomized rounding needs a random generator$"):
        quantize(np.array([0.5]), "random")


def test_random_rounding_leaves_integers_as_they_are() -> None:
    """Even where the generator draws its smallest number."""
    zeros: Any = SimpleNamespace(random=np.zeros)
    assert quantize(np.array([3.0, 3.5, -2.0]), "random", zeros).tolist() == [3, 4, -2]


@pytest.mark.parametrize("quantizer", ["floor", "round", "ceil", "random"])
def test_cells_are_integers(quantizer: Quantizer) -> None:
    assert quantize(np.array([0.5]), quantizer, np.random.default_rng(0)).dtype == np.int64


def test_encode_takes_points_of_any_shape_and_any_quantizer() -> None:
    # stride 4: u = (x - 1.5) / 4
    points = np.array([[[1.5, 5.0], [7.5, 9.5]], [[5.5, 254.0], [253.5, 251.5]]])
    low, inside = encode(points, SPEC, quantizer="floor")
    assert inside.tolist() == [[True, True], [False, True]]
    assert low[inside].tolist() == [[0, 0], [1, 2], [63, 62]]
    assert encode(points, SPEC, quantizer="ceil").cells[inside].tolist() == [[0, 1], [2, 2], [63, 63]]
    assert encode(points, SPEC, quantizer="round").cells[inside].tolist() == [[0, 1], [2, 2], [63, 63]]


@pytest.mark.parametrize("number", [np.uint8, np.float16, np.float32])
def test_points_of_any_number_type_are_encoded_in_double_precision(number: type[np.generic]) -> None:
    spec = CodecSpec(input_size=Size.square(255), stride=3)
    points = np.stack(np.meshgrid(np.arange(1, 254), np.arange(1, 254)), axis=-1)
    expected = encode(points.astype(np.float64), spec, np.random.default_rng(0))
    found = encode(points.astype(number), spec, np.random.default_rng(0))
    assert_array_equal(found.cells, expected.cells)
    assert_array_equal(found.inside, expected.inside)


# ---------------------------------------------------------------- the map's edge


def test_points_outside_the_map_are_flagged_not_wrapped() -> None:
    points = np.array([[1.5, 1.5], [253.5, 253.5], [1.4, 100], [100, 253.6], [-300, 100], [100, 9999]])
    encoded = encode(points, SPEC, np.random.default_rng(0))
    assert encoded.inside.tolist() == [True, True, False, False, False, False]
    assert encoded.cells[:2].tolist() == [[0, 0], [63, 63]]


@given(st.lists(st.tuples(st.floats(-600, 600), st.floats(-600, 600)), min_size=1, max_size=20))
def test_every_cell_of_a_point_inside_lies_on_the_map(points: list[tuple[float, float]]) -> None:
    cells, inside = encode(np.array(points), SPEC, np.random.default_rng(0))
    assert np.all((cells[inside] >= 0) & (cells[inside] <= 63))


# ---------------------------------------------------------------- decode


def test_argmax_by_hand() -> None:
    maps = np.zeros((1, 1, 4, 4), np.float32)
    maps[0, 0, 2, 1] = 5.0
    assert decode(maps, TINY).points.tolist() == [[[4 * 1 + 1.5, 4 * 2 + 1.5]]]


def test_topk_mean_by_hand() -> None:
    # logits ln 3 and ln 1: weights 3/4 and 1/4 over columns 1 and 2 of row 0
    maps = np.full((1, 1, 4, 4), -20.0, np.float32)
    maps[0, 0, 0, 1], maps[0, 0, 0, 2] = math.log(3), 0.0
    assert_allclose(decode(maps, TINY, topk=2).points, [[[4 * 1.25 + 1.5, 1.5]]], atol=1e-5)


def test_score_is_the_share_of_the_averaged_cells_by_hand() -> None:
    # sixteen cells of probability 1/16 each
    maps = np.zeros((1, 1, 4, 4), np.float32)
    assert decode(maps, TINY, topk=4).scores.tolist() == [[0.25]]


def test_each_point_has_a_score_of_its_own() -> None:
    maps = np.zeros((1, 2, 4, 4), np.float32)
    maps[0, 1, 2, 2] = 1000.0
    assert decode(maps, replace(TINY, points=2), topk=4).scores.tolist() == [[0.25, 1.0]]


def test_the_score_is_limited_where_cells_lie_outside_the_window() -> None:
    maps = np.full((1, 1, 64, 64), -1000.0, np.float32)
    maps[0, 0, 10, 10] = maps[0, 0, 10, 50] = 0.0
    assert decode(maps, CodecSpec(points=1), topk=2).scores.tolist() == [[1.0]]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("peak", "other", "inside"),
    [
        (32, 24, True),
        (32, 23, False),
        (32, 40, True),
        (32, 41, False),
        # near the edge of the map the window is shifted: cells 0 to 16, and 47 to 63
        (3, 16, True),
        (3, 17, False),
        (60, 47, True),
        (60, 46, False),
    ],
)
def test_score_and_covariance_are_those_of_17_cells_around_the_peak(
    peak: int, other: int, inside: bool, axis: int
) -> None:
    # the second cell has a quarter of the probability, if the window holds it
    maps = np.full((1, 1, 64, 64), -1000.0, np.float32)
    maps[0, 0, peak, 20] = 0.0
    maps[0, 0, other, 20] = -math.log(3)
    if axis == 0:
        maps = maps.swapaxes(2, 3)
    decoded = decode(maps, CodecSpec(points=1), decoder="argmax")
    variance = 16 * (peak - other) ** 2 / 4 if inside else 0.0
    assert_allclose(decoded.covariances[0, 0], np.diag([variance, 0.0] if axis == 0 else [0.0, variance]), rtol=1e-6)
    assert_allclose(decoded.scores[0, 0], 0.75 if inside else 1.0, rtol=1e-6)


def test_covariance_by_hand() -> None:
    # half the probability on column 1, half on column 3, both in row 2: x = 2, variance 1 cell, 16 pixels squared
    maps = np.full((1, 1, 4, 4), -1000.0, np.float32)
    maps[0, 0, 2, 1] = maps[0, 0, 2, 3] = 0.0
    decoded = decode(maps, TINY, topk=2)
    assert_allclose(decoded.points, [[[4 * 2 + 1.5, 4 * 2 + 1.5]]])
    assert_allclose(decoded.covariances, [[[[16.0, 0.0], [0.0, 0.0]]]], atol=1e-6)


def test_covariance_on_the_diagonal_by_hand() -> None:
    # (0, 0) and (2, 2) with equal probability: every moment about (1, 1) is 1 cell squared
    maps = np.full((1, 1, 4, 4), -1000.0, np.float32)
    maps[0, 0, 0, 0] = maps[0, 0, 2, 2] = 0.0
    assert_allclose(decode(maps, TINY, topk=2).covariances, [[[[16.0, 16.0], [16.0, 16.0]]]], atol=1e-6)


def test_covariance_counts_from_the_decoded_point() -> None:
    # argmax ignores the second mode, the covariance does not: (4 cells^2 * 0.25) * 16
    maps = np.full((1, 1, 4, 4), -1000.0, np.float32)
    maps[0, 0, 1, 0], maps[0, 0, 1, 2] = math.log(3), 0.0
    assert_allclose(decode(maps, TINY, topk=1).covariances[0, 0, 0, 0], 16.0, rtol=1e-6)


def test_calibration_scales_and_adds() -> None:
    maps = np.full((1, 1, 4, 4), -1000.0, np.float32)
    maps[0, 0, 2, 1] = maps[0, 0, 2, 3] = 0.0
    spec = CodecSpec(points=1, input_size=Size.square(16), stride=4, topk=2, covariance_scale=0.5, covariance_floor=3.0)
    # 0.5 * (16 + 3) and 0.5 * 3
    assert_allclose(decode(maps, spec).covariances, [[[[9.5, 0.0], [0.0, 1.5]]]], atol=1e-6)


def test_each_point_can_have_a_calibration_of_its_own() -> None:
    maps = np.full((1, 2, 4, 4), -1000.0, np.float32)
    maps[0, :, 2, 1] = maps[0, :, 2, 3] = 0.0
    spec = CodecSpec(points=2, input_size=Size.square(16), stride=4, topk=2, covariance_scale=(0.5, 2.0))
    assert_allclose(decode(maps, spec).covariances[0, :, 0, 0], [8.0, 32.0], atol=1e-6)


def test_a_face_of_wide_maps_is_less_certain_still() -> None:
    # one cell of deviation across and down, of the other point twice that: sqrt 2 cells on the whole
    moments = np.array([[[16.0, 0.0], [0.0, 16.0]], [[64.0, 0.0], [0.0, 64.0]]])
    assert_allclose(face_spread(moments, 4), 2**0.5)
    assert_allclose(face_spread(np.stack([moments, 4 * moments]), 4), [2**0.5, 8**0.5])
    # four cells about the middle of the map, a quarter of the probability each: a deviation of 2 px, half a cell
    maps = np.full((1, 1, 4, 4), -1000.0, np.float32)
    maps[0, 0, 1:3, 1:3] = 0.0
    spec = CodecSpec(points=1, input_size=Size.square(16), stride=4, topk=4, covariance_scale=3.0, covariance_power=2.0)
    assert_allclose(decode(maps, spec).covariances, [[[[3.0, 0.0], [0.0, 3.0]]]], atol=1e-6)  # 3 * (1/2)^2 * 4


def test_spread_of_maps_that_lie_aslant() -> None:
    # the determinant of [[5, 3], [3, 5]] is 16: standard deviations of 2 px on the geometric mean, half a cell
    assert_allclose(face_spread(np.array([[[5.0, 3.0], [3.0, 5.0]]]), 4), 0.5)
    assert_allclose(face_spread(np.array([[[5.0, -3.0], [-3.0, 5.0]]]), 4), 0.5)


def test_a_map_of_one_cell_has_a_spread_all_the_same() -> None:
    # the fourth root of the smallest determinant, 1e-8, over the stride
    assert_allclose(face_spread(np.zeros((3, 2, 2)), 4), 0.0025)


@given(arrays(np.float32, (1, 2, 8, 8), elements=st.floats(-1000, 1000, width=32)), st.integers(1, 64))
def test_covariances_are_positive_and_scores_are_shares(maps: NDArray[np.float32], topk: int) -> None:
    decoded = decode(maps, CodecSpec(points=2, input_size=Size.square(32)), topk)
    assert np.all(np.linalg.eigvalsh(decoded.covariances.astype(np.float64)) > -1e-3)
    assert np.all((decoded.scores > 0) & (decoded.scores <= 1))


def test_a_rectangular_map_by_hand() -> None:
    # 64 rows of 48 columns: row 60, column 40 is beyond what a square map of either side could tell
    spec = CodecSpec(points=1, input_size=Size(width=192, height=256), topk=2)
    maps = np.full((1, 1, 64, 48), -1000.0, np.float32)
    maps[0, 0, 60, 40], maps[0, 0, 61, 40] = math.log(3), 0.0
    decoded = decode(maps, spec)
    assert_allclose(decoded.points, [[[4 * 40 + 1.5, 4 * 60.25 + 1.5]]], atol=1e-4)
    # a quarter of the probability lies one cell below the rest: 3/16 cells squared, 3 pixels squared
    assert_allclose(decoded.covariances, [[[[0.0, 0.0], [0.0, 3.0]]]], atol=1e-4)


@given(st.floats(0, 191), st.floats(0, 255))
def test_a_point_on_a_rectangular_map_is_encoded_within_it_and_decoded_as_itself(x: float, y: float) -> None:
    spec = CodecSpec(points=1, input_size=Size(width=192, height=256), topk=4)
    cells, inside = encode(np.array([x, y]), spec, np.random.default_rng(0))
    assert bool(inside) == (1.5 <= x <= 189.5 and 1.5 <= y <= 253.5)
    if inside:
        assert (cells >= 0).all()
        assert (cells <= [47, 63]).all()
        with np.errstate(divide="ignore"):
            maps = np.maximum(np.log(expected_heatmap((x, y), spec)), -60).astype(np.float32)
        assert_allclose(decode(maps, spec).points[0, 0], [x, y], atol=1e-3)


def test_a_mirrored_heatmap_gives_a_mirrored_point() -> None:
    maps = 4 * np.random.default_rng(5).standard_normal((1, 98, 64, 64)).astype(np.float32)
    plain, mirrored = decode(maps, SPEC), decode(np.ascontiguousarray(maps[..., ::-1]), SPEC)
    assert_allclose(mirrored.points[..., 0], 255 - plain.points[..., 0], atol=1e-4)
    assert_allclose(mirrored.points[..., 1], plain.points[..., 1], atol=1e-4)
    assert_allclose(mirrored.covariances[..., 0, 1], -plain.covariances[..., 0, 1], atol=1e-3)


def test_a_face_decodes_to_the_same_bits_in_any_batch() -> None:
    maps = 4 * np.random.default_rng(6).standard_normal((3, 98, 64, 64)).astype(np.float32)
    together = decode(maps, SPEC)
    for i in range(3):
        for whole, alone in zip(together, decode(maps[i : i + 1], SPEC), strict=True):
            assert_array_equal(whole[i], alone[0])


def test_half_precision_maps_decode() -> None:
    maps = np.zeros((1, 1, 4, 4), np.float16)
    maps[0, 0, 3, 0] = 9.0
    assert decode(maps, TINY).points.tolist() == [[[1.5, 13.5]]]


def test_double_precision_maps_are_decoded_in_single_precision() -> None:
    # the two cells differ in double precision only: the first of equals is the strongest
    maps = np.zeros((1, 1, 4, 4))
    maps[0, 0, 1, 1], maps[0, 0, 2, 2] = 1.0, 1.0 + 1e-12
    assert decode(maps, TINY).points.tolist() == [[[5.5, 5.5]]]


def test_what_is_decoded_is_in_single_precision() -> None:
    assert [array.dtype for array in decode(np.zeros((1, 1, 4, 4), np.float32), TINY)] == [np.float32] * 4


def test_no_faces_decode_to_no_points() -> None:
    assert decode(np.empty((0, 98, 64, 64), np.float32), SPEC).points.shape == (0, 98, 2)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("shape", [(98, 64, 64), (1, 97, 64, 64), (1, 98, 64, 32), (1, 98, 32, 32)])
def test_maps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError, match=r"\[N, 98, 64, 64\]"):
        decode(np.zeros(shape, np.float32), SPEC)


@pytest.mark.parametrize("k", [0, -1, 4097])
def test_k_beyond_the_map_is_refused(k: int) -> None:
    with pytest.raises(CodecError, match="between 1 and the 4096 cells"):
        decode(np.zeros((1, 98, 64, 64), np.float32), SPEC, topk=k)


INTEGERS = "points, input_size, stride and topk must be integers"
SCALES = "covariance_scale must be positive, one for all points or one for each; covariance_floor not negative"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"points": 98.0}, INTEGERS),
        ({"topk": "9"}, INTEGERS),
        (
            {"input_size": Size.square(255)},
            "input_size 255 must be a positive multiple of stride 4, and points 98 positive",
        ),
        (
            {"input_size": Size.square(0)},
            "input_size 0 must be a positive multiple of stride 4, and points 98 positive",
        ),
        (
            {"input_size": Size(190, 256)},
            "input_size 256x190 must be a positive multiple of stride 4, and points 98 positive",
        ),
        ({"input_size": Size(192.0, 256)}, INTEGERS),  # type: ignore[arg-type]
        ({"stride": 0}, "input_size 256 must be a positive multiple of stride 0, and points 98 positive"),
        ({"points": 0}, "input_size 256 must be a positive multiple of stride 4, and points 0 positive"),
        ({"pixel_rule": "middle"}, "pixel_rule must be one of ('center', 'corner'), not 'middle'"),
        ({"topk": 0}, "topk must lie between 1 and the 4096 cells of a heatmap, not 0"),
        ({"topk": 4097}, "topk must lie between 1 and the 4096 cells of a heatmap, not 4097"),
        ({"covariance_scale": 0.0}, SCALES),
        ({"covariance_floor": -1.0}, SCALES),
        ({"covariance_scale": math.nan}, SCALES),
        ({"covariance_scale": (1.0, 2.0)}, SCALES),
        ({"covariance_scale": (1.0,) * 97 + (0.0,)}, SCALES),
        ({"covariance_power": -0.1}, "covariance_power must lie between 0 and 4, not -0.1"),
        ({"covariance_power": 4.5}, "covariance_power must lie between 0 and 4, not 4.5"),
        ({"covariance_power": math.nan}, "covariance_power must lie between 0 and 4, not nan"),
    ],
)
def test_unusable_specs_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError) as refused:
        CodecSpec(**values)
    assert str(refused.value) == message


def test_specs_at_their_bounds_are_accepted() -> None:
    assert CodecSpec(points=1, input_size=Size.square(1), stride=1, topk=1).heatmap_shape == (1, 1, 1)
    assert CodecSpec(topk=4096, covariance_power=4.0).topk == 4096


def test_json_is_stable_and_comes_back() -> None:
    assert SPEC.to_json() == (
        '{"covariance_floor": 0.0, "covariance_power": 0.0, "covariance_scale": 1.0, "input_size": 256, '
        '"pixel_rule": "center", "points": 98, "stride": 4, "topk": 9}'
    )
    assert CodecSpec.from_json(SPEC.to_json()) == SPEC
    calibrated = replace(SPEC, covariance_scale=tuple(float(i + 1) for i in range(98)), covariance_floor=0.16)
    assert CodecSpec.from_json(calibrated.to_json()) == calibrated


def test_json_of_models_exported_before_there_was_a_power_is_read() -> None:
    text = (
        '{"covariance_floor": 0.16, "covariance_scale": 0.5, "input_size": 256, "pixel_rule": "center", '
        '"points": 98, "stride": 4, "topk": 9}'
    )
    assert CodecSpec.from_json(text) == replace(SPEC, covariance_floor=0.16, covariance_scale=0.5)


def test_a_rectangle_is_height_by_width_in_json() -> None:
    spec = CodecSpec(points=17, input_size=Size(width=192, height=256))
    assert '"input_size": "256x192"' in spec.to_json()
    assert CodecSpec.from_json(spec.to_json()) == spec
    assert (spec.columns, spec.rows, spec.heatmap_shape) == (48, 64, (17, 64, 48))
    # 64 rows of 48 columns
    assert spec.check_topk(3072) == 3072
    with pytest.raises(CodecError, match="between 1 and the 3072 cells"):
        spec.check_topk(3073)


@pytest.mark.parametrize("size", ['"256x192x3"', '"x"', "256.0", "true", "null", "-4", '"256X192"'])
def test_a_size_of_anything_else_is_refused(size: str) -> None:
    with pytest.raises(CodecError, match="a size is the side of a square, 256, or height x width"):
        CodecSpec.from_json(SPEC.to_json().replace("256", size))


@pytest.mark.parametrize("text", ["[]", "{}", '{"points": 98}', '{"unknown": 1}', "null"])
def test_json_of_anything_else_is_refused(text: str) -> None:
    with pytest.raises(CodecError) as refused:
        CodecSpec.from_json(text)
    assert str(refused.value) == (
        "a codec specification needs exactly the keys ['covariance_floor', 'covariance_power', 'covariance_scale', "
        f"'input_size', 'pixel_rule', 'points', 'stride', 'topk'], got: {text}"
    )


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(CodecError) as refused:
        CodecSpec.from_json("{points}")
    assert str(refused.value) == (
        "not a codec specification "
        "(Expecting property name enclosed in double quotes: line 1 column 2 (char 1)): {points}"
    )
