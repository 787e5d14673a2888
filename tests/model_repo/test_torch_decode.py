"""The decoder for GPUs, on the CPU: it answers as `landmarks.codec.decode` does."""

import importlib.util
import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from landmarks import codec
from landmarks.codec import CodecError, CodecSpec, Decoded
from landmarks.decoders import DECODERS
from landmarks.size import Size
from tests.conftest import ROOT

torch = pytest.importorskip("torch", reason="the decoder for GPUs is in PyTorch")

TINY = CodecSpec(points=1, input_size=Size.square(16), stride=4, topk=1)  # one map of 4 x 4 cells
SMALL = CodecSpec(
    points=5,
    input_size=Size(40, 48),
    covariance_scale=(0.5, 1.0, 0.7, 2.0, 1.5),
    covariance_floor=0.16,
    covariance_power=1.1,
)

Maps = NDArray[Any]


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("torch_decode", ROOT / "model_repo/decode/1/torch_decode.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


torch_decode = load()


def decode(maps: Maps, spec: CodecSpec, topk: "int | None" = None, decoder: "str | None" = None) -> Decoded:
    decoded: Decoded = torch_decode.decode(torch.from_numpy(maps), spec, topk, decoder)
    return decoded


def assert_agree(maps: Maps, spec: CodecSpec, topk: "int | None" = None, decoder: "str | None" = None) -> None:
    pairs = zip(decode(maps, spec, topk, decoder), codec.decode(maps, spec, topk, decoder), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape
        # `codec.decode` takes covariances in single precision where it runs in C
        assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- golden vectors


def test_topk_mean_by_hand() -> None:
    # logits ln 3 and ln 1: weights 3/4 and 1/4 over columns 1 and 2 of row 0
    maps = np.full((1, 1, 4, 4), -20.0, np.float32)
    maps[0, 0, 0, 1], maps[0, 0, 0, 2] = math.log(3), 0.0
    assert_allclose(decode(maps, TINY, topk=2).points, [[[4 * 1.25 + 1.5, 1.5]]], atol=1e-5)


def test_of_equal_cells_the_first_by_hand() -> None:
    # four of sixteen equal cells: the first row
    decoded = decode(np.zeros((1, 1, 4, 4), np.float32), TINY, topk=4)
    assert decoded.points.tolist() == [[[4 * 1.5 + 1.5, 1.5]]]
    assert decoded.scores.tolist() == [[0.25]]


def test_zeros_of_either_sign_are_equal() -> None:
    maps = np.full((1, 1, 4, 4), -1.0, np.float32)
    maps[0, 0, 1, 1], maps[0, 0, 2, 2] = -0.0, 0.0
    assert decode(maps, TINY).points.tolist() == [[[5.5, 5.5]]]


def test_calibrated_covariance_by_hand() -> None:
    # half the probability on column 1, half on column 3: variance 1 cell, 16 pixels squared
    maps = np.full((1, 1, 4, 4), -1000.0, np.float32)
    maps[0, 0, 2, 1] = maps[0, 0, 2, 3] = 0.0
    spec = replace(TINY, topk=2, covariance_scale=0.5, covariance_floor=3.0)
    # 0.5 * (16 + 3) and 0.5 * 3
    assert_allclose(decode(maps, spec).covariances, [[[[9.5, 0.0], [0.0, 1.5]]]], atol=1e-6)


def test_a_face_of_wide_maps_is_less_certain_still_by_hand() -> None:
    # four equal cells: a deviation of 2 px, half a cell
    maps = np.full((2, 1, 4, 4), -1000.0, np.float32)
    maps[:, 0, 1:3, 1:3] = 0.0
    maps[1, 0, 1:3, 0] = maps[1, 0, 1:3, 3] = 0.0  # of the second face over four columns: 10 / 8 cells squared
    spec = replace(TINY, topk=4, covariance_scale=3.0, covariance_power=2.0)
    # 3 times the square of the spread; that of the second is the root of 0.5 * sqrt(1.25)
    one, other = decode(maps[:, :, :, :], replace(spec, topk=8)).covariances
    assert_allclose(one, [[[3.0, 0.0], [0.0, 3.0]]], atol=1e-6)
    assert_allclose(other[0, 0, 0], 3 * 0.5 * 1.25**0.5 * 16 * 1.25, rtol=1e-6)


def test_the_paper_s_pixel_rule_by_hand() -> None:
    maps = np.zeros((1, 1, 4, 4), np.float16)
    maps[0, 0, 3, 1] = 9.0
    assert decode(maps, replace(TINY, pixel_rule="corner")).points.tolist() == [[[4.0, 12.0]]]


# ---------------------------------------------------------------- the same as NumPy's


def test_the_same_decoders_are_known() -> None:
    assert list(torch_decode.DECODERS) == list(DECODERS)


def tied(*shape: int, dtypes: Any = (np.float16, np.float32)) -> st.SearchStrategy[Maps]:
    """Maps of few distinct values of either sign, so that most cells have equals."""
    values = st.sampled_from([-1.5, -0.5, -0.0, 0.0, 0.25, 1.0, 6.0])
    return st.sampled_from(dtypes).flatmap(lambda dtype: arrays(dtype, shape, elements=values))


@settings(deadline=None)
@given(tied(1, 5, 12, 10), st.integers(1, 120))
def test_strongest_cells_are_those_of_a_full_sort_ties_included(maps: Maps, k: int) -> None:
    logits, cells = torch_decode.strongest_cells(torch.from_numpy(maps).to(torch.float32), k)
    flat = maps.reshape(1, 5, -1)
    expected = np.argsort(-flat, axis=-1, kind="stable")[..., :k]
    assert_array_equal(cells, expected)
    assert_array_equal(logits, np.take_along_axis(flat, expected, axis=-1))


@settings(deadline=None)
@given(tied(2, 5, 12, 10), st.sampled_from([("topk", 1), ("topk", 9), ("topk", 120), *((n, None) for n in DECODERS)]))
def test_maps_with_many_ties_decode_alike(maps: Maps, choice: "tuple[str, int | None]") -> None:
    decoder, topk = choice
    assert_agree(maps, SMALL, topk, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("levels", [None, 2, 9])
@pytest.mark.parametrize(("dtype", "rule"), [(np.float32, "center"), (np.float16, "corner")])
def test_maps_of_a_real_size_decode_alike(decoder: str, levels: "int | None", dtype: type, rule: Any) -> None:
    """98 x 64 x 64: larger than the window of the moments, which maps of 12 x 10 cells are not."""
    maps = 6 * np.random.default_rng(levels).standard_normal((1, 98, 64, 64), np.float32)
    if levels is not None:  # as many distinct values, so that ties abound at the peak and below
        maps = np.round(maps / np.abs(maps).max() * levels)
    assert_agree(
        maps.astype(dtype), CodecSpec(pixel_rule=rule, covariance_scale=0.7, covariance_floor=0.2), decoder=decoder
    )


@pytest.mark.parametrize("decoder", DECODERS)
def test_peaks_like_a_network_s_decode_alike(decoder: str) -> None:
    """One smooth peak in each map, within the map and beyond its edges."""
    centres = np.random.default_rng(3).uniform(-2, 66, (98, 2))
    y, x = np.mgrid[0:64, 0:64]
    squares = (x - centres[:, :1, None]) ** 2 + (y - centres[:, 1:, None]) ** 2
    assert_agree((12 - squares / 4).astype(np.float32)[None], CodecSpec(covariance_power=1.1), decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_rectangular_maps_of_a_real_size_decode_alike(decoder: str) -> None:
    spec = CodecSpec(points=17, input_size=Size(width=192, height=256), covariance_power=1.1)
    maps = 6 * np.random.default_rng(4).standard_normal((2, 17, 64, 48), np.float32)
    assert_agree(maps, spec, decoder=decoder)


def test_peaks_at_the_borders_decode_alike() -> None:
    maps = np.full((1, 5, 12, 10), -8.0, np.float32)
    for point, (row, column) in enumerate([(0, 0), (0, 9), (11, 0), (11, 9), (5, 6)]):
        maps[0, point, row, column] = 3.0
    for decoder in DECODERS:
        assert_agree(maps, SMALL, decoder=decoder)


def test_no_faces_decode_to_no_points() -> None:
    assert_agree(np.empty((0, 5, 12, 10), np.float32), SMALL)


def test_maps_may_lie_anyhow_in_memory() -> None:
    maps = np.random.default_rng(1).standard_normal((1, 12, 10, 5)).astype(np.float32).transpose(0, 3, 1, 2)
    assert_agree(maps, SMALL)


# ---------------------------------------------------------------- errors


def test_the_same_is_refused() -> None:
    with pytest.raises(CodecError, match=r"\[N, 5, 12, 10\]"):
        decode(np.zeros((1, 5, 10, 12), np.float32), SMALL)
    with pytest.raises(CodecError, match="between 1 and the 120 cells"):
        decode(np.zeros((1, 5, 12, 10), np.float32), SMALL, topk=121)
    with pytest.raises(CodecError, match="decoder must be one of"):
        decode(np.zeros((1, 5, 12, 10), np.float32), SMALL, decoder="best")
