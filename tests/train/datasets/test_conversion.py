from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from landmarks.layout import WFLW98
from train.commands.fit_conversion import held_out_error
from train.datasets.conversion import ADDED, GIVEN, PointConversion, cross_validated, fit, fit_shapes, given68
from train.errors import DataError

Shapes = np.ndarray[Any, np.dtype[np.float64]]


def symmetric(shapes: Shapes) -> Shapes:
    """Shapes made mirror-symmetric, as a conversion that knows no sides can only be exact for what both sides share."""
    mean: Shapes = (shapes + shapes[:, list(WFLW98.flip)] * [-1, 1]) / 2
    return mean


def linear_faces(count: int, seed: int = 0) -> Shapes:
    """Shapes of one linear family of few dimensions, each shifted, scaled and rotated at random."""
    rng = np.random.default_rng(seed)
    family = symmetric(np.random.default_rng(99).normal(size=(5, 98, 2)))
    shapes = family[0] + np.einsum("nk,kpc->npc", 0.05 * rng.normal(size=(count, 4)), family[1:])
    roll, side = rng.uniform(-0.5, 0.5, count), rng.uniform(50, 400, count)
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]).transpose(2, 0, 1)
    transformed: Shapes = side[:, None, None] * (shapes @ rotation) + rng.uniform(0, 1000, (count, 1, 2))
    return transformed


@pytest.fixture(scope="module")
def conversion() -> PointConversion:
    return fit_shapes(linear_faces(60))


shapes68 = arrays(np.float64, (68, 2), elements=st.floats(-200, 200), unique=True)


def test_thirty_points_are_added() -> None:
    assert (len(GIVEN), len(ADDED)) == (68, 30)
    assert [*range(1, 33, 2), 38, 39, 40, 41, 47, 48, 49, 50, 62, 66, 70, 74, 96, 97] == ADDED


def test_a_linear_family_is_converted_wherever_it_lies() -> None:
    """To first order: aligning is not linear, so what is left is of the order of the deformation squared."""
    unseen = linear_faces(50, seed=1)
    conversion = fit_shapes(linear_faces(500))
    size = np.ptp(unseen, axis=(1, 2))[:, None]
    errors = np.linalg.norm(conversion.convert(unseen[:, GIVEN]) - unseen, axis=-1) / size
    assert errors.mean() < 0.005
    assert errors.max() < 0.05


@given(shapes68)
def test_the_68_points_come_back_unchanged(conversion: PointConversion, points: Shapes) -> None:
    assert np.array_equal(conversion.convert(points)[GIVEN], points)


@given(arrays(np.float64, (3, 68, 2), elements=st.floats(-200, 200), unique=True))
def test_one_shape_is_converted_as_many_are(conversion: PointConversion, points: Shapes) -> None:
    one, many = conversion.convert(points[1]), conversion.convert(points)
    assert (one.shape, many.shape) == ((98, 2), (3, 98, 2))
    assert one == pytest.approx(many[1])


@given(st.integers(0, 49), st.floats(-3, 3), st.floats(0.1, 10), st.floats(-500, 500), st.floats(-500, 500))
def test_a_conversion_commutes_with_a_similarity(
    conversion: PointConversion, index: int, angle: float, scale: float, x: float, y: float
) -> None:
    rotation = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = linear_faces(50, seed=1)[index, GIVEN]
    expected = conversion.convert(points) @ rotation + [x, y]
    assert conversion.convert(points @ rotation + [x, y]) == pytest.approx(expected, abs=1e-6 * scale)


def test_a_conversion_is_the_same_once_saved(conversion: PointConversion, tmp_path: Path) -> None:
    shapes = linear_faces(5)
    conversion.save(tmp_path / "conversion.npz")
    assert np.array_equal(
        PointConversion.load(tmp_path / "conversion.npz").convert(shapes[:, GIVEN]),
        conversion.convert(shapes[:, GIVEN]),
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz: cannot be read"):
        PointConversion.load(tmp_path / "gone.npz")


def test_a_file_that_is_no_conversion_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", points=np.zeros((3, 98, 2)))
    arrays = dict.fromkeys(("mean", "components", "centers", "base"), np.zeros((68, 2)))
    np.savez(tmp_path / "sizes.npz", **arrays, weights=np.zeros((136, 62)))
    np.save(tmp_path / "array.npz", np.zeros(3))
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    for name in ("text", "other", "array"):
        with pytest.raises(
            DataError,
            match=rf"{name}\.npz: expected an \.npz file with the arrays mean, components, centers, base, weights",
        ):
            PointConversion.load(tmp_path / f"{name}.npz")
    with pytest.raises(DataError, match=r"sizes\.npz: its arrays do not have the sizes of a conversion"):
        PointConversion.load(tmp_path / "sizes.npz")


@pytest.mark.parametrize("shapes", [np.zeros((0, 98, 2)), np.zeros((5, 68, 2)), np.full((5, 98, 2), np.nan)])
def test_anything_but_98_finite_points_is_refused(shapes: Shapes) -> None:
    with pytest.raises(DataError, match=r"finite shapes \[n, 98, 2\]"):
        fit_shapes(shapes)


# ---------------------------------------------------------------- pairs: the 68 are moved


def moved_chins(shapes: Shapes) -> Shapes:
    """Shapes as annotators would have them who place the chin a tenth of the face's size towards the nose's base."""
    moved = shapes.copy()
    moved[:, 16] += 0.1 * (shapes[:, 57] - shapes[:, 16])
    return moved


def test_pairs_move_the_68_points_as_the_pairs_say() -> None:
    shapes, unseen = linear_faces(400), linear_faces(50, seed=1)
    conversion = fit(shapes[:, GIVEN], moved_chins(shapes))
    found, wanted = conversion.convert(unseen[:, GIVEN]), moved_chins(unseen)
    size = np.ptp(unseen, axis=(1, 2))
    assert (np.linalg.norm(found - wanted, axis=-1).mean(axis=1) / size).max() < 0.02
    before = np.linalg.norm(unseen[:, 16] - wanted[:, 16], axis=-1) / size
    after = np.linalg.norm(found[:, 16] - wanted[:, 16], axis=-1) / size
    assert after.mean() < 0.1 * before.mean()


def test_what_depends_on_the_square_of_the_pose_is_learnt() -> None:
    """A point that moves by the square of a coefficient is beyond a linear regression."""
    rng = np.random.default_rng(3)
    family = symmetric(np.random.default_rng(99).normal(size=(2, 98, 2)))
    amounts = rng.uniform(-0.4, 0.4, 300)
    given = family[0] + amounts[:, None, None] * (family[1] - family[1].mean(axis=0))
    wanted = given.copy()
    wanted[:, 16, 1] += amounts**2
    left = cross_validated(given[:, GIVEN], wanted)[:, 16, 1] - wanted[:, 16, 1]
    assert np.abs(left).mean() < 0.5 * np.abs(amounts**2 - (amounts**2).mean()).mean()


def test_a_mirrored_face_is_converted_to_mirrored_points_by_pairs_as_well() -> None:
    shapes, unseen = linear_faces(100), linear_faces(20, seed=1)
    conversion = fit(shapes[:, GIVEN], moved_chins(shapes))
    mirrored = unseen[:, list(WFLW98.flip)] * [-1, 1]
    expected = conversion.convert(unseen[:, GIVEN])[:, list(WFLW98.flip)] * [-1, 1]
    assert conversion.convert(mirrored[:, GIVEN]) == pytest.approx(expected, abs=1e-6)


def test_pairs_of_different_numbers_are_refused() -> None:
    shapes = linear_faces(5)
    with pytest.raises(DataError, match="5 faces of 68 points, 4 of 98"):
        fit(shapes[:, GIVEN], shapes[:4])


def test_the_68_among_98_points_are_taken() -> None:
    shapes = linear_faces(2)
    assert np.array_equal(given68(shapes), shapes[:, GIVEN])
    assert given68(shapes[:, GIVEN]) is not shapes
    assert np.array_equal(given68(shapes[:, GIVEN]), shapes[:, GIVEN])


# ---------------------------------------------------------------- real shapes


def test_real_shapes_are_converted_to_within_a_hundredth_of_the_eyes_distance(wflw_shapes: Shapes) -> None:
    assert 0.6 < held_out_error(wflw_shapes) < 0.9


def test_a_mirrored_face_is_converted_to_mirrored_points(wflw_shapes: Shapes) -> None:
    conversion = fit_shapes(wflw_shapes[:200])
    faces = wflw_shapes[200:300].astype(np.float64)
    mirrored = faces[:, list(WFLW98.flip)] * [-1, 1]
    expected = conversion.convert(faces[:, GIVEN])[:, list(WFLW98.flip)] * [-1, 1]
    assert conversion.convert(mirrored[:, GIVEN]) == pytest.approx(expected, abs=1e-6)
