"""68 points of 300-W -> 98 points of WFLW: the 68 stay where they are, the other 30 follow from them linearly.

A shape is first brought to the mean 68-point shape by a similarity, so that the regression sees neither place nor size
nor roll; its answer is brought back. Fitted on shapes and their mirror images alike, so a mirrored face is lifted to
exactly the mirrored points.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.datasets.layouts import IBUG68_IN_WFLW98
from train.errors import DataError

Array = NDArray[np.float64]

KEPT: Final = list(IBUG68_IN_WFLW98)
LIFTED: Final = [point for point in range(WFLW98.points) if point not in IBUG68_IN_WFLW98]
"""The 30 points of the 98 that the 68 do not hold."""

RIDGE: Final = 1e-3
"""Regularisation: a standard deviation per coordinate, for shapes of unit root-mean-square radius. Anything from 1e-6
to 3e-3 errs equally little."""
ROUNDS: Final = 10
"""Alignments of all shapes to their mean, each of which moves the mean less."""


@dataclass(frozen=True, eq=False)
class Lift:
    """A fitted lift."""

    mean: Array
    """[68, 2] the mean shape, centred, of unit root-mean-square radius"""
    base: Array
    """[60] the 30 points of the mean shape"""
    weights: Array
    """[136, 60] from deviations of the 68 points to deviations of the 30"""

    def apply(self, points: Array) -> Array:
        """[..., 68, 2] -> [..., 98, 2] in the same pixels; the 68 come back unchanged."""
        flat = np.asarray(points, np.float64).reshape(-1, len(KEPT), 2)
        pose = _pose(flat, self.mean)
        deviations = (_undo(pose, flat) - self.mean).reshape(len(flat), -1)
        out = np.empty((len(flat), WFLW98.points, 2))
        out[:, KEPT] = flat
        out[:, LIFTED] = _redo(pose, (self.base + deviations @ self.weights).reshape(len(flat), -1, 2))
        return out.reshape(*points.shape[:-2], WFLW98.points, 2)

    def save(self, path: Path) -> None:
        """Writes the three arrays into an .npz file."""
        with path.open("wb") as file:  # given a name, numpy would add an ending of its own
            np.savez(file, mean=self.mean, base=self.base, weights=self.weights)

    @classmethod
    def load(cls, path: Path) -> Lift:
        """Raises DataError when the file is missing or is not a lift."""
        arrays = load_arrays(path, "mean", "base", "weights")
        shapes = [array.shape for array in arrays]
        if shapes != [(68, 2), (60,), (136, 60)]:
            raise DataError(f"{path}: expected arrays [68, 2], [60] and [136, 60], found {shapes}; run fit-lift")
        return cls(*arrays)


def fit(shapes: NDArray[np.floating[Any]], ridge: float = RIDGE) -> Lift:
    """The lift that errs least in the squares over 98-point shapes [n, 98, 2] and their mirror images.

    Raises DataError for anything but finite shapes of 98 points.
    """
    if shapes.ndim != 3 or shapes.shape[1:] != (WFLW98.points, 2) or not len(shapes) or not np.isfinite(shapes).all():
        raise DataError(f"a lift is fitted on finite shapes [n, 98, 2], not on {list(shapes.shape)}")
    plain = np.asarray(shapes, np.float64)
    both = np.concatenate([plain, plain[:, list(WFLW98.flip)] * [-1, 1]])
    mean = _mean_shape(both[:, KEPT])
    aligned = _undo(_pose(both[:, KEPT], mean), both)
    inputs = (aligned[:, KEPT] - mean).reshape(len(both), -1)
    outputs = aligned[:, LIFTED].reshape(len(both), -1)
    base = outputs.mean(axis=0)
    gram = inputs.T @ inputs / len(both) + ridge**2 * np.eye(inputs.shape[1])
    return Lift(mean, base, np.linalg.solve(gram, inputs.T @ (outputs - base) / len(both)))


# ---------------------------------------------------------------- similarities, as complex numbers: z -> a z + b


def _pose(points: Array, mean: Array) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """The similarities [n] that bring the centred mean shape closest to each of [n, 68, 2], in the squares."""
    z, m = _complex(points), _complex(mean)
    shift = z.mean(axis=1)
    turn = (z * m.conj()).sum(axis=1) / (np.abs(m) ** 2).sum()
    return turn, shift


def _undo(pose: tuple[Any, Any], points: Array) -> Array:
    return _real((_complex(points) - pose[1][:, None]) / pose[0][:, None])


def _redo(pose: tuple[Any, Any], points: Array) -> Array:
    return _real(_complex(points) * pose[0][:, None] + pose[1][:, None])


def _complex(points: Array) -> NDArray[np.complex128]:
    z: NDArray[np.complex128] = points[..., 0] + 1j * points[..., 1]
    return z


def _real(z: NDArray[np.complex128]) -> Array:
    return np.stack([z.real, z.imag], axis=-1)


def _mean_shape(shapes: Array) -> Array:
    """The centred mean of the shapes [n, 68, 2] once each is aligned to it, of unit root-mean-square radius."""
    mean = shapes[0]
    for _ in range(ROUNDS):
        mean = mean - mean.mean(axis=0)
        mean = mean / np.sqrt((mean**2).sum(axis=1).mean())
        mean = _undo(_pose(shapes, mean), shapes).mean(axis=0)
    # of a set that holds every mirror image the mean is symmetric, up to roll: remove that roll and the rounding
    mirrored = mean[list(_FLIP68)] * [-1, 1]
    turn = _pose(mirrored[None], mean)[0][0]
    mean = _real(_complex(mean) * np.sqrt(turn / abs(turn)))
    mean = (mean + mean[list(_FLIP68)] * [-1, 1]) / 2
    mean = mean - mean.mean(axis=0)
    centred: Array = mean / np.sqrt((mean**2).sum(axis=1).mean())
    return centred


_FLIP68: Final = tuple(KEPT.index(WFLW98.flip[point]) for point in KEPT)


def load_arrays(path: Path, *names: str) -> list[Array]:
    """Arrays of an .npz file. Raises DataError when it is missing, is something else, or lacks one."""
    try:
        with np.load(path) as file:
            return [np.asarray(file[name], np.float64) for name in names]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (KeyError, ValueError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected an .npz file with the arrays {', '.join(names)}; {error}") from error
