"""The face model, where it is at hand, and heads of known shape and pose."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.pose_synthesis.known import KnownHead
from train.pose_synthesis.model import FaceModel


@pytest.fixture(scope="session")
def model_file(test_data: Path) -> Path:
    path = test_data / "ict_face" / "ict_face.npz"
    if not path.is_file():
        pytest.skip(f"no {path}: the 3-D face model is not at hand")
    return path


@pytest.fixture(scope="session")
def model(model_file: Path) -> FaceModel:
    return FaceModel.load(model_file)


@pytest.fixture(scope="session")
def plain(model: FaceModel) -> KnownHead:
    """The mean face, almost frontal."""
    return KnownHead.drawn(model, None, (6.0, -4.0, 3.0))
