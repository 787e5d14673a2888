"""The decoder in C against that in NumPy: what it answers, and when it leaves it to NumPy."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from landmarks import compiled
from landmarks.codec import CodecSpec, Decoded, decode
from landmarks.decoders import exponential
from landmarks.size import Size

ROOT = Path(__file__).parents[2]


def build(folder: Path, compiler: str) -> ctypes.CDLL | None:
    """Builds as an installation does."""
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder)],
        cwd=ROOT,
        env={**os.environ, "CC": compiler},
        check=True,
        capture_output=True,
    )
    return compiled.load(folder / "landmarks")


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is compared is the source as it is now, not what was installed."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        pytest.skip("no compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", build(tmp_path_factory.mktemp("build"), compiler))
        assert compiled.library is not None
        yield


CALIBRATED = CodecSpec(covariance_scale=0.5, covariance_floor=0.1, covariance_power=0.3)

# few values, so that most cells have equals; or any, zeros of both signs among them
logits = st.sampled_from([-1.0, -0.0, 0.0, 1.0, 2.0]) | st.floats(-1000, 1000, width=32)


def faces(seed: int, count: int = 2) -> NDArray[np.float32]:
    """Maps as networks predict them: a peak that is aslant, a second one, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    maps = 0.5 * rng.standard_normal((count, 98, 64, 64))
    for height in (9.0, 7.0):
        column, row, width = (rng.uniform(low, high, (count, 98, 1, 1)) for low, high in ((-1, 65), (-1, 65), (0.5, 4)))
        dx, dy = x - column, y - row
        maps += height * np.exp(-(dx**2 + dy**2 + dx * dy) / width**2)
    return maps.astype(np.float32)


def by_numpy(maps: NDArray[np.float32], spec: CodecSpec, k: int | None = None) -> Decoded:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", None)
        return decode(maps, spec, k)


def in_c(maps: NDArray[np.float32], spec: CodecSpec, k: int | None = None) -> Decoded:
    """As `decode`, which may not leave it to NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("landmarks.codec._decode_face")
        return decode(maps, spec, k)


def assert_alike(found: Decoded, expected: Decoded) -> None:
    assert_array_equal(found.points.view(np.int32), expected.points.view(np.int32))
    assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
    assert_allclose(found.covariances, expected.covariances, rtol=1e-5, atol=1e-4)


@given(
    data=st.data(),
    rows=st.integers(1, 37),
    columns=st.integers(1, 37),
    stride=st.sampled_from([1, 4]),
    rule=st.sampled_from(["center", "corner"]),
)
def test_maps_are_decoded_as_by_numpy(data: st.DataObject, rows: int, columns: int, stride: int, rule: Any) -> None:
    maps = data.draw(arrays(np.float32, (2, 3, rows, columns), elements=logits))
    k = data.draw(st.integers(1, min(64, rows * columns)))
    size = Size(width=stride * columns, height=stride * rows)
    spec = CodecSpec(points=3, input_size=size, stride=stride, pixel_rule=rule, topk=k)
    assert_alike(in_c(maps, spec), by_numpy(maps, spec))


@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 25, 64])
def test_faces_are_decoded_as_by_numpy(k: int) -> None:
    assert_alike(in_c(faces(k), CALIBRATED, k), by_numpy(faces(k), CALIBRATED, k))


def test_each_point_has_a_calibration_of_its_own() -> None:
    spec = CodecSpec(covariance_scale=tuple(np.linspace(0.5, 2, 98).tolist()))
    assert_alike(in_c(faces(3), spec), by_numpy(faces(3), spec))


def test_of_equal_cells_the_first_are_the_strongest() -> None:
    spec = CodecSpec(points=1, input_size=Size.square(32), pixel_rule="corner", topk=3)
    assert in_c(np.zeros((1, 1, 8, 8), np.float32), spec).points.tolist() == [[[4.0, 0.0]]]


def test_a_face_decodes_to_the_same_bits_in_any_batch() -> None:
    maps = faces(4, 3)
    together = in_c(maps, CALIBRATED)
    for i in range(3):
        for whole, alone in zip(together, in_c(maps[i : i + 1], CALIBRATED), strict=True):
            assert_array_equal(whole[i], alone[0])


def test_maps_may_lie_anyhow_in_memory() -> None:
    maps = faces(5).swapaxes(2, 3)
    assert_alike(in_c(maps, CALIBRATED), by_numpy(maps, CALIBRATED))


def test_the_exponential_is_one() -> None:
    x = -np.geomspace(1e-9, 699, 1000)
    assert_allclose(exponential(x), np.exp(x), rtol=1e-9)
    assert exponential(np.array([0.0, -1e9])).tolist() == [1.0, pytest.approx(0.0, abs=1e-300)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_beside_a_peak_is_not_hidden(bad: float) -> None:
    maps = np.zeros((1, 98, 64, 64), np.float32)
    maps[0, :, 30, 30], maps[0, 0, 31, 30] = 9.0, bad
    with np.errstate(invalid="ignore"):
        covariances = decode(maps, CALIBRATED).covariances
    assert not np.isfinite(covariances[0, 0]).any()


def test_cells_of_no_probability_are_left_to_numpy() -> None:
    maps = faces(6)
    maps[:, :, 20:40, 20:40] = -np.inf
    assert_alike(decode(maps, CALIBRATED), by_numpy(maps, CALIBRATED))
    maps[0, 0] = -np.inf
    maps[0, 0, 10, 10] = 0.0
    assert_alike(decode(maps, CALIBRATED), by_numpy(maps, CALIBRATED))


@pytest.mark.parametrize(("k", "decoder"), [(65, "topk"), (None, "quarter"), (None, "all")])
def test_what_it_cannot_do_is_left_to_numpy(k: int | None, decoder: str) -> None:
    maps = faces(7)
    found = decode(maps, CALIBRATED, k, decoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", None)
        for one, other in zip(found, decode(maps, CALIBRATED, k, decoder), strict=True):
            assert_array_equal(one, other)


def test_without_a_compiler_the_package_installs_without_the_library(tmp_path: Path) -> None:
    assert build(tmp_path, "/nonexistent/cc") is None


def test_a_library_of_another_machine_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "_heatmaps.abi3.so").write_bytes(b"not a library")
    assert compiled.load(tmp_path) is None
