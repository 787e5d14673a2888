"""Files of NumPy arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.errors import DataError


def load_arrays(path: Path, *names: str) -> list[NDArray[np.float64]]:
    """Arrays of an .npz file, as float64. Raises DataError when it is missing, is not such a file, or lacks one."""
    try:
        with np.load(path) as file:
            return [np.asarray(file[name], np.float64) for name in names]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (KeyError, ValueError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected an .npz file with the arrays {', '.join(names)}; {error}") from error
