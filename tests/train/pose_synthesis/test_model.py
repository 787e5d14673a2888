from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from landmarks.layout import WFLW98
from train.datasets.layouts import IBUG68_IN_WFLW98
from train.errors import DataError
from train.pose_synthesis.model import CHIN, CONTOUR, FaceModel


def test_points_are_mirror_images_of_each_other(model: FaceModel) -> None:
    assert (model.mirror[model.points[33:]] == model.points[list(WFLW98.flip[33:])]).all()
    at = model.mean[model.points]
    assert at[list(WFLW98.flip)] * [-1, 1, 1] == pytest.approx(at, abs=0.01)


def test_the_subjects_right_lies_on_the_left_of_the_image(model: FaceModel) -> None:
    x = model.mean[model.points, 0]
    sides = {
        side: [x[i] for i, name in enumerate(WFLW98.point_names) if name.startswith(side)] for side in ("right", "left")
    }
    assert max(sides["right"]) < 0 < min(sides["left"])


def test_points_lie_within_half_a_centimetre_of_where_the_models_authors_put_them(
    model: FaceModel, model_file: Path
) -> None:
    with np.load(model_file) as file:
        named = file["vertices"][file["landmarks68"]]
    inner = [i for i, point in enumerate(IBUG68_IN_WFLW98) if point > 32]
    ours = model.mean[model.points[list(IBUG68_IN_WFLW98)]]
    assert np.linalg.norm(ours - named, axis=1)[inner].max() < 0.5


def test_eyes_and_mouth_are_closed(model: FaceModel) -> None:
    edges = np.concatenate([model.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    _, sides = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    once = np.unique(np.sort(edges, axis=1), axis=0)[sides == 1]
    assert model.mean[once, 1].max() < -9  # the end of the neck alone is open


def test_paths_lead_from_the_edge_of_the_face_inwards(model: FaceModel) -> None:
    assert model.mean[model.paths[:, 0]] == pytest.approx(model.mean[list(CONTOUR)])
    inwards = np.diff(abs(model.mean[model.paths, 0]), axis=1)
    assert inwards.max() < 1e-4
    assert model.mean[model.paths[::-1]] * [-1, 1, 1] == pytest.approx(model.mean[model.paths], abs=0.01)


def test_the_chins_path_lies_on_the_midline(model: FaceModel) -> None:
    assert abs(model.mean[model.paths[CHIN], 0]).max() < 0.01


def test_everything_above_the_neck_rotates_and_its_end_does_not(model: FaceModel) -> None:
    assert (model.rotation_share[model.mean[:, 1] > -8.5] == 1).all()
    assert (model.rotation_share[model.mean[:, 1] < -13] == 0).all()


def test_a_file_that_is_not_a_face_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz: cannot be read"):
        FaceModel.load(tmp_path / "gone.npz")
    np.savez(tmp_path / "other.npz", vertices=np.zeros((5, 3)))
    with pytest.raises(DataError, match=r"other\.npz: expected an \.npz file with the arrays vertices, triangles"):
        FaceModel.load(tmp_path / "other.npz")
    arrays = {"triangles": np.zeros((2, 3)), "identity": np.zeros((4, 5, 3)), "expression": np.zeros((3, 5, 3))}
    np.savez(tmp_path / "small.npz", vertices=np.zeros((5, 3)), **arrays)
    with pytest.raises(DataError, match=r"small\.npz: expected ICT's vertices"):
        FaceModel.load(tmp_path / "small.npz")
