"""The point conversion: 68 points of 300-W -> 98 points of WFLW, whose annotators put many of the 68 elsewhere.

A shape is brought to the mean 68-point shape by a similarity, so that neither position nor size nor roll matters. Its
deviation from the mean, and products of the deviation's first principal components, which follow the head's pose, then
give by ridge regression how far each of the 68 points is moved, and where the other 30 lie. The conversion is fitted to
shapes and their mirror images alike, so a mirrored face is converted to exactly the mirrored points.

Fitted to pairs (the 68 points of a face as annotated, its 98 points as WFLW has them) it moves the 68. Fitted to shapes
of 98 points alone, it leaves the 68 unchanged and adds the other 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.datasets.face import AnnotatedFace
from train.datasets.layouts import IBUG68_IN_WFLW98
from train.datasets.npz import load_arrays
from train.errors import DataError

Array = NDArray[np.float64]

GIVEN: Final = list(IBUG68_IN_WFLW98)
"""The 68 of the 98 points that are given."""
ADDED: Final = [point for point in range(WFLW98.points) if point not in IBUG68_IN_WFLW98]
"""The 30 of the 98 points that the conversion adds."""

POSE_COMPONENTS: Final = 6
"""Principal components whose products are inputs of the regression. They follow yaw, pitch and the mouth's opening."""
RIDGE: Final = 0.0075
"""Regularisation: a standard deviation per input, for shapes of unit root-mean-square radius. Cross-validated on pairs
of 300-W, 0.003 to 0.01 give the same error."""
ROUNDS: Final = 10
"""Alignments of all shapes to their mean, each of which moves the mean less."""
MIN_VARIANCE: Final = 1e-6
"""Of a principal component: shapes of one family have none in most directions."""
FOLDS: Final = 5
"""Parts of the faces, each of which is converted by a conversion fitted to the others (`cross_validated`)."""

_ROWS, _COLUMNS = np.triu_indices(POSE_COMPONENTS)
_SHAPES: Final = {
    "mean": (len(GIVEN), 2),
    "components": (2 * len(GIVEN), POSE_COMPONENTS),
    "centers": (2 * len(GIVEN) + len(_ROWS),),
    "base": (2 * WFLW98.points,),
    "weights": (2 * len(GIVEN) + len(_ROWS), 2 * WFLW98.points),
}


@dataclass(frozen=True, eq=False)
class PointConversion:
    """A fitted conversion of 68 points to 98."""

    mean: Array
    """[68, 2] the mean shape, centered, of unit root-mean-square radius"""
    components: Array
    """[136, POSE_COMPONENTS] from deviations of the 68 points to pose components of unit variance"""
    centers: Array
    """[157] means of the inputs: 136 deviations and 21 products of components"""
    base: Array
    """[196] of a mean face: how far the 68 points are moved, and where the other 30 lie, in the order of WFLW"""
    weights: Array
    """[157, 196] from the inputs to deviations from `base`"""

    def convert(self, points: Array) -> Array:
        """[..., 68, 2] -> [..., 98, 2] in the same pixels."""
        flat = np.asarray(points, np.float64).reshape(-1, len(GIVEN), 2)
        similarity = _similarity(flat, self.mean)
        inputs = self._inputs(_to_mean(similarity, flat)) - self.centers
        found = (self.base + inputs @ self.weights).reshape(len(flat), WFLW98.points, 2)
        out = np.empty_like(found)
        # points that are not to be moved are so exactly, without the rounding of going to the mean shape and back
        out[:, GIVEN] = flat + _scaled(similarity, found[:, GIVEN])
        out[:, ADDED] = _from_mean(similarity, found[:, ADDED])
        return out.reshape(*points.shape[:-2], WFLW98.points, 2)

    def save(self, path: Path) -> None:
        """Writes the arrays into an .npz file."""
        with path.open("wb") as file:  # given a name, numpy would add an ending of its own
            np.savez(file, **{name: getattr(self, name) for name in _SHAPES})

    @classmethod
    def load(cls, path: Path) -> PointConversion:
        """Raises DataError when the file is missing or is not a conversion."""
        arrays = load_arrays(path, *_SHAPES)
        if [array.shape for array in arrays] != list(_SHAPES.values()):
            raise DataError(f"{path}: its arrays do not have the sizes of a conversion; run fit-conversion again")
        return cls(*arrays)

    def _inputs(self, aligned: Array) -> Array:
        """Aligned shapes [N, 68, 2] -> inputs of the regression [N, 157], not yet centered."""
        deviations = (aligned - self.mean).reshape(len(aligned), -1)
        pose = deviations @ self.components
        return np.concatenate([deviations, pose[:, _ROWS] * pose[:, _COLUMNS]], axis=1)


def converted(faces: Sequence[AnnotatedFace], conversion: PointConversion) -> list[AnnotatedFace]:
    """Faces of 68 points, or of 98 that contain them, as faces of WFLW's 98."""
    return [replace(face, points=conversion.convert(given68(face.points))) for face in faces]


def given68(points: Array) -> Array:
    """The 68 points of 300-W among points [..., 98, 2]; points [..., 68, 2] as they are."""
    return points if points.shape[-2] == len(GIVEN) else points[..., GIVEN, :]


# ---------------------------------------------------------------- fitting


def fit(given: NDArray[np.floating[Any]], wanted: NDArray[np.floating[Any]], ridge: float = RIDGE) -> PointConversion:
    """The conversion of least squared error from points [N, 68, 2] to [N, 98, 2], and from and to their mirror images.

    Raises DataError for anything but finite points in such numbers.
    """
    _check("68", given, len(GIVEN))
    _check("98", wanted, WFLW98.points)
    if len(given) != len(wanted):
        raise DataError(f"a conversion is fitted to pairs, not to {len(given)} faces of 68 points, {len(wanted)} of 98")
    given, wanted = np.asarray(given, np.float64), np.asarray(wanted, np.float64)
    given = np.concatenate([given, given[:, list(_FLIP68)] * [-1, 1]])
    wanted = np.concatenate([wanted, wanted[:, list(WFLW98.flip)] * [-1, 1]])
    mean = _mean_shape(given)
    similarity = _similarity(given, mean)
    aligned, outputs = _to_mean(similarity, given), _to_mean(similarity, wanted)
    outputs[:, GIVEN] -= aligned
    outputs = outputs.reshape(len(outputs), -1)
    components = _pose_components((aligned - mean).reshape(len(aligned), -1))
    unfitted = PointConversion(mean, components, np.zeros(0), np.zeros(0), np.zeros((0, 0)))
    inputs = unfitted._inputs(aligned)
    centers, base = inputs.mean(axis=0), outputs.mean(axis=0)
    inputs, outputs = inputs - centers, outputs - base
    gram = inputs.T @ inputs / len(inputs) + ridge**2 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ outputs / len(inputs))
    return PointConversion(mean, components, centers, base, weights)


def fit_shapes(shapes: NDArray[np.floating[Any]], ridge: float = 1e-3) -> PointConversion:
    """The conversion that adds 30 points to 68 as shapes [N, 98, 2] have them, and leaves the 68 where they are.

    Raises DataError for anything but finite shapes of 98 points.
    """
    _check("98", shapes, WFLW98.points)
    return fit(shapes[:, GIVEN], shapes, ridge)


def cross_validated(given: NDArray[np.floating[Any]], wanted: NDArray[np.floating[Any]]) -> Array:
    """Each of the faces [N, 68, 2] as the conversion fitted to the other four fifths converts it: [N, 98, 2].

    A fifth is every fifth face.
    """
    out = np.empty(np.shape(wanted))
    for fold in range(FOLDS):
        part = np.arange(len(given)) % FOLDS == fold
        out[part] = fit(given[~part], wanted[~part]).convert(np.asarray(given[part], np.float64))
    return out


def _check(points: str, shapes: NDArray[np.floating[Any]], count: int) -> None:
    if shapes.ndim != 3 or shapes.shape[1:] != (count, 2) or not len(shapes) or not np.isfinite(shapes).all():
        raise DataError(f"a conversion is fitted to finite shapes [n, {points}, 2], not to {list(shapes.shape)}")


def _pose_components(deviations: Array) -> Array:
    """[136, POSE_COMPONENTS] from deviations [N, 136] to their first principal components, of unit variance."""
    variances, directions = np.linalg.eigh(deviations.T @ deviations / len(deviations))
    largest = slice(-1, -POSE_COMPONENTS - 1, -1)
    components: Array = directions[:, largest] / np.sqrt(np.maximum(variances[largest], MIN_VARIANCE))
    return components


# ---------------------------------------------------------------- similarities, as complex numbers: z -> a z + b

Similarity = tuple[NDArray[np.complex128], NDArray[np.complex128]]
"""a and b [N] of N similarities."""


def _similarity(points: Array, mean: Array) -> Similarity:
    """The similarities from the centered mean shape to each of [N, 68, 2], by least squares."""
    z, m = _complex(points), _complex(mean)
    shift = z.mean(axis=1)
    scale = (z * m.conj()).sum(axis=1) / (np.abs(m) ** 2).sum()
    return scale, shift


def _to_mean(similarity: Similarity, points: Array) -> Array:
    return _real((_complex(points) - similarity[1][:, None]) / similarity[0][:, None])


def _from_mean(similarity: Similarity, points: Array) -> Array:
    return _real(_complex(points) * similarity[0][:, None] + similarity[1][:, None])


def _scaled(similarity: Similarity, offsets: Array) -> Array:
    """Offsets from the mean shape's frame into that of the points."""
    return _real(_complex(offsets) * similarity[0][:, None])


def _complex(points: Array) -> NDArray[np.complex128]:
    z: NDArray[np.complex128] = points[..., 0] + 1j * points[..., 1]
    return z


def _real(z: NDArray[np.complex128]) -> Array:
    return np.stack([z.real, z.imag], axis=-1)


_FLIP68: Final = tuple(GIVEN.index(WFLW98.flip[point]) for point in GIVEN)


def _mean_shape(shapes: Array) -> Array:
    """The centered mean of the shapes [N, 68, 2] once each is aligned to it, of unit root-mean-square radius."""
    mean = shapes[0]
    for _ in range(ROUNDS):
        mean = mean - mean.mean(axis=0)
        mean = mean / np.sqrt((mean**2).sum(axis=1).mean())
        mean = _to_mean(_similarity(shapes, mean), shapes).mean(axis=0)
    # the mean of a set that holds every mirror image is symmetric but for a roll: remove that, and the rounding
    mirrored = mean[list(_FLIP68)] * [-1, 1]
    rotation = _similarity(mirrored[None], mean)[0][0]
    mean = _real(_complex(mean) * np.sqrt(rotation / abs(rotation)))
    mean = (mean + mean[list(_FLIP68)] * [-1, 1]) / 2
    mean = mean - mean.mean(axis=0)
    centered: Array = mean / np.sqrt((mean**2).sum(axis=1).mean())
    return centered
