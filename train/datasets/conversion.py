"""The point conversion: 68 points of 300-W -> 98 points of WFLW. The 68 stay; a linear regression adds the other 30.

A shape is first brought to the mean 68-point shape by a similarity, so that the regression sees neither position nor
size nor roll; its result is brought back. It is fitted to shapes and their mirror images alike, so a mirrored face is
converted to exactly the mirrored points.
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

RIDGE: Final = 1e-3
"""Regularisation: a standard deviation per coordinate, for shapes of unit root-mean-square radius. From 1e-6 to 3e-3
the error is the same."""
ROUNDS: Final = 10
"""Alignments of all shapes to their mean, each of which moves the mean less."""


@dataclass(frozen=True, eq=False)
class PointConversion:
    """A fitted conversion of 68 points to 98."""

    mean: Array
    """[68, 2] the mean shape, centered, of unit root-mean-square radius"""
    base: Array
    """[60] the 30 added points of the mean shape"""
    weights: Array
    """[136, 60] from deviations of the 68 points to deviations of the 30"""

    def convert(self, points: Array) -> Array:
        """[..., 68, 2] -> [..., 98, 2] in the same pixels; the 68 come back unchanged."""
        flat = np.asarray(points, np.float64).reshape(-1, len(GIVEN), 2)
        similarity = _similarity(flat, self.mean)
        deviations = (_to_mean(similarity, flat) - self.mean).reshape(len(flat), -1)
        out = np.empty((len(flat), WFLW98.points, 2))
        out[:, GIVEN] = flat
        out[:, ADDED] = _from_mean(similarity, (self.base + deviations @ self.weights).reshape(len(flat), -1, 2))
        return out.reshape(*points.shape[:-2], WFLW98.points, 2)

    def save(self, path: Path) -> None:
        """Writes the three arrays into an .npz file."""
        with path.open("wb") as file:  # given a name, numpy would add an ending of its own
            np.savez(file, mean=self.mean, base=self.base, weights=self.weights)

    @classmethod
    def load(cls, path: Path) -> PointConversion:
        """Raises DataError when the file is missing or is not a conversion."""
        arrays = load_arrays(path, "mean", "base", "weights")
        shapes = [array.shape for array in arrays]
        if shapes != [(68, 2), (60,), (136, 60)]:
            raise DataError(f"{path}: expected arrays [68, 2], [60] and [136, 60], found {shapes}; run fit-conversion")
        return cls(*arrays)


def converted(faces: Sequence[AnnotatedFace], conversion: PointConversion) -> list[AnnotatedFace]:
    """Faces of 68 points as faces of 98."""
    return [replace(face, points=conversion.convert(face.points)) for face in faces]


def fit(shapes: NDArray[np.floating[Any]], ridge: float = RIDGE) -> PointConversion:
    """The conversion of least squared error over 98-point shapes [N, 98, 2] and their mirror images.

    Raises DataError for anything but finite shapes of 98 points.
    """
    if shapes.ndim != 3 or shapes.shape[1:] != (WFLW98.points, 2) or not len(shapes) or not np.isfinite(shapes).all():
        raise DataError(f"a conversion is fitted to finite shapes [n, 98, 2], not to {list(shapes.shape)}")
    given = np.asarray(shapes, np.float64)
    both = np.concatenate([given, given[:, list(WFLW98.flip)] * [-1, 1]])
    mean = _mean_shape(both[:, GIVEN])
    aligned = _to_mean(_similarity(both[:, GIVEN], mean), both)
    inputs = (aligned[:, GIVEN] - mean).reshape(len(both), -1)
    outputs = aligned[:, ADDED].reshape(len(both), -1)
    base = outputs.mean(axis=0)
    gram = inputs.T @ inputs / len(both) + ridge**2 * np.eye(inputs.shape[1])
    return PointConversion(mean, base, np.linalg.solve(gram, inputs.T @ (outputs - base) / len(both)))


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
