"""MATLAB files of the versions before 7.3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from train.datasets.reading import missing
from train.errors import DataError


def load_mat(path: Path, *keys: str, **options: Any) -> dict[str, Any]:
    """The variables of a file; `options` go to scipy's loadmat.

    Raises DataError when the file is missing, is not a MATLAB file, or lacks one of `keys`.
    """
    try:
        mat: dict[str, Any] = loadmat(path, **options)
    except OSError as error:
        raise missing(path, error) from error
    except (MatReadError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: expected a MATLAB file of version 5; {error}") from error
    absent = [key for key in keys if key not in mat]
    if absent:
        found = ", ".join(key for key in mat if not key.startswith("__"))
        raise DataError(f"{path}: expected the variables {', '.join(absent)}; the file has {found}")
    return mat
