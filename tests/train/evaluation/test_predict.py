"""The figures of an evaluation, with a network that answers with the true points, moved by a known amount."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec, Decoded, NetworkOutput, without_visibility
from landmarks.crop import Crop, transform_points
from landmarks.flip import mirror_points
from landmarks.layout import WFLW98, PointLayout
from landmarks.metadata import PointsCrop
from landmarks.second_pass import Refine, crop_by_points
from landmarks.size import Size
from tests.train.miniature import write_miniature
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.layouts import AFLW19, COCO17, COFW29, MPII16
from train.datasets.source import DataSource
from train.datasets.training_data import TrainingData
from train.engine.landmark_run import LandmarkRun
from train.errors import TrainingError
from train.evaluation.predict import SecondPass, check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName
from train.evaluation.summary import norms, summary
from train.evaluation.trained import open_run
from train.export.torch_to_onnx import export

BOX = np.array([20.0, 20.0, 84.0, 84.0])  # crop scale 1 and size 64: crop pixels are image pixels, moved


def faces(folder: Path, layout: PointLayout, count: int = 4, **changes: Any) -> list[AnnotatedFace]:
    """Faces whose points lie on cells; the first belongs to the subset "first"."""
    path = folder / "plain.png"
    cv2.imwrite(str(path), np.full((100, 100, 3), 128, np.uint8))
    rng = np.random.default_rng(0)
    cells = rng.integers(2, 12, (count, layout.points, 2))
    to_image = Crop.around(BOX, 1.0, Size.square(64)).crop_to_image()
    points = [transform_points(to_image, 4 * row + 1.5) for row in cells]
    return [
        AnnotatedFace(path, row, BOX, subsets=frozenset(["first"] if i == 0 else []), **changes)
        for i, row in enumerate(points)
    ]


def evaluate(
    faces: list[AnnotatedFace], layout: PointLayout, columns: int = 1, readings: Sequence[DecoderName] = (1,)
) -> Predictions:
    """Predictions that lie `columns` cells (4 pixels each) to the right of the truth."""
    codec = CodecSpec(points=layout.points, input_size=Size.square(64), topk=1)
    truths = iter(faces)

    def network(crops: np.ndarray[Any, Any]) -> NetworkOutput:
        maps = np.zeros((len(crops), layout.points, 16, 16), np.float32)
        for i in range(len(crops)):
            points = transform_points(Crop.around(BOX, 1.0, Size.square(64)).image_to_crop(), next(truths).points)
            column, row = np.nan_to_num(np.round((points - 1.5) / 4)).astype(int).T
            maps[i, np.arange(layout.points), row, column + columns] = 50.0
        return without_visibility(maps)

    return predict(network, faces, codec, 1.0, readings, layout=layout)


def test_errors_by_each_normalisation(tmp_path: Path) -> None:
    some = faces(tmp_path, WFLW98)
    corner = transform_points(Crop.around(BOX, 1.0, Size.square(64)).crop_to_image(), [9.5, 1.5])
    for face in some:
        face.points[60], face.points[72] = corner, corner + np.array([0, 40])
        face.points[96], face.points[97] = corner, corner + np.array([0, 20])
    predictions = evaluate(some, WFLW98)
    assert predictions.errors(1) == pytest.approx(4 / 40)
    assert predictions.errors(1, "inter_pupil") == pytest.approx(4 / 20)
    assert predictions.errors(1, "box") == pytest.approx(4 / 64)
    sides = np.array([np.ptp(face.points, axis=0) for face in some])
    assert predictions.errors(1, "tight_box") == pytest.approx(np.tile(4 / np.sqrt(sides.prod(axis=1)), (98, 1)).T)
    assert norms(WFLW98) == ["inter_ocular", "box", "tight_box", "inter_pupil"]


def test_a_sets_own_size_counts_pixels_of_the_image(tmp_path: Path) -> None:
    some = faces(tmp_path, MPII16, size=10.0)
    codec = CodecSpec(points=16, input_size=Size.square(64), topk=1)
    # the same crop shown at half the size: an error of 4 crop pixels is one of 8 image pixels
    flat = lambda crops: without_visibility(np.zeros((len(crops), 16, 16, 16), np.float32))  # noqa: E731
    predictions = predict(flat, some, codec, 2.0, [1], layout=MPII16)
    assert predictions.lengths("size") == pytest.approx(5.0)


def test_points_in_the_pixels_of_the_image(tmp_path: Path) -> None:
    some = faces(tmp_path, COFW29)
    predictions = evaluate(some, COFW29, columns=0)
    assert predictions.image_points(1) == pytest.approx(np.stack([face.points for face in some]), abs=1e-4)


def test_figures_by_subset_and_group(tmp_path: Path) -> None:
    some = faces(tmp_path, AFLW19)
    figures = summary(evaluate(some, AFLW19), [1], 1)
    assert figures["normalised_by"] == "box"
    assert figures["by_k"]["1"] == pytest.approx({"nme": 6.25, "fr10": 0, "auc10": 0.375, "faces": 4})
    assert figures["by_norm"]["box"] == figures["by_k"]["1"]
    assert list(figures["by_norm"]) == ["box", "tight_box"]
    side = np.sqrt(np.ptp(some[0].points, axis=0).prod())
    assert figures["by_subset_tight_box"]["first"] == pytest.approx(100 * 4 / side)
    assert figures["hand_placed"] == {}
    assert figures["by_subset"]["first"] == pytest.approx({"nme": 6.25, "fr10": 0, "auc10": 0.375, "faces": 1})
    assert figures["by_group"] == pytest.approx(dict.fromkeys(["brows", "eyes", "nose", "mouth", "chin"], 6.25))


def test_points_nobody_annotated_do_not_count(tmp_path: Path) -> None:
    some = faces(tmp_path, AFLW19)
    for face in some:
        face.points[18] = np.nan
    figures = summary(evaluate(some, AFLW19), [1], 1)
    assert figures["by_k"]["1"]["nme"] == pytest.approx(6.25)
    assert figures["by_group"]["chin"] is None
    assert "chin" not in figures["coverage"]
    # an error of a cell under a map of one cell
    assert figures["coverage"]["all"] == {"0.5": 0.0, "0.9": 0.0, "0.95": 0.0}


def test_the_points_that_people_placed_have_a_figure_of_their_own(tmp_path: Path) -> None:
    """Of the first face they are ten; faces whose points all weigh the same have none."""
    first, *others = faces(tmp_path, AFLW19)
    placed = replace(first, weights=np.array([1.0] * 10 + [0.5] * 9))
    alike = [replace(face, weights=np.full(19, weight)) for face, weight in zip(others, (1.0, 0.5, 0.25), strict=True)]
    predictions = evaluate([placed, *alike], AFLW19)
    predictions.decoded[1].points[:, 10:] += 100
    side = np.sqrt(np.ptp(placed.points, axis=0).prod())
    assert predictions.hand_placed(1) == pytest.approx({"first": 100 * 4 / side})


def rolled_face(folder: Path) -> AnnotatedFace:
    """A face rolled by 0.5, with a box that is half as large again as it should be and off its middle."""
    path = folder / "plain.png"
    cv2.imwrite(str(path), np.full((300, 300, 3), 128, np.uint8))
    points = np.zeros((98, 2))
    points[0], points[32], points[16], points[35] = [-40, 0], [40, 0], [0, 40], [0, -40]
    points[list(WFLW98.groups["right_eye"] + WFLW98.groups["left_eye"])] = [0, -20]
    points[list(WFLW98.groups["outer_lips"])] = [0, 20]
    c, s = np.cos(0.5), np.sin(0.5)
    return AnnotatedFace(path, points @ np.array([[c, s], [-s, c]]) + 150, np.array([80.0, 90.0, 200.0, 210.0]))


@pytest.mark.parametrize("size", [Size.square(64), Size(width=72, height=96)], ids=str)
@pytest.mark.parametrize(("refine", "calls"), [("never", 1), ("auto", 2), ("always", 2)])
def test_a_second_pass_crops_a_face_by_its_points(tmp_path: Path, refine: Refine, calls: int, size: Size) -> None:
    face, codec = rolled_face(tmp_path), CodecSpec(input_size=size, topk=1)
    first = Crop.around(face.box, 1.0, size)
    expected = crop_by_points(face.points, PointsCrop(1.25, 0.0), WFLW98, size)
    assert expected is not None
    crops = [first, expected][:calls]
    shown = iter(crops)

    def network(batch: np.ndarray[Any, Any]) -> NetworkOutput:
        maps = np.zeros((len(batch), *codec.heatmap_shape), np.float32)
        crop = next(shown)
        points = transform_points(crop.image_to_crop(), face.points)
        if crop is expected:  # the second crop is shown in a mirror
            points = mirror_points(points, size.width, WFLW98)
        column, row = np.round((points - 1.5) / 4).astype(int).T
        maps[0, np.arange(98), row, column] = 50.0
        return without_visibility(maps)

    second = SecondPass(PointsCrop(1.25, 0.0), refine)
    predictions = predict(network, [face], codec, 1.0, [1], second=second)
    assert next(shown, None) is None
    # the points of the first pass are rounded to cells of 7.5 or 6.7 pixels of the image: 5 of the second crop
    seen = transform_points(predictions.matrices[0], face.points)
    assert np.abs(seen - transform_points(crops[-1].image_to_crop(), face.points)).mean() < 2.5
    assert predictions.image_points(1)[0] == pytest.approx(face.points, abs=8)
    assert predictions.lengths("tight_box")[0] == pytest.approx(
        np.sqrt(np.ptp(face.points, axis=0).prod()) * crops[-1].scale, rel=0.1
    )


def test_bodies_have_the_figures_of_their_sets(tmp_path: Path) -> None:
    joints = summary(evaluate(faces(tmp_path, MPII16, size=10.0), MPII16), [1], 1)
    assert joints["pckh"] == {"0.5": 100.0, "0.1": 0.0}  # off by 4 of 10
    people = summary(evaluate(faces(tmp_path, COCO17, size=100.0), COCO17, columns=0), [1], 1)
    assert people["mean_oks"] == pytest.approx(1)


def test_a_network_of_other_points_is_refused() -> None:
    with pytest.raises(TrainingError, match="the network finds 98 points, but cofw29 has 29"):
        check_points(CodecSpec(), COFW29)


def test_decoders_by_name_have_reports_of_their_own(tmp_path: Path) -> None:
    figures = summary(evaluate(faces(tmp_path, AFLW19), AFLW19, readings=[1, "argmax", "quarter"]), [1, "argmax"], 1)
    assert list(figures["by_k"]) == ["1"]
    assert list(figures["by_decoder"]) == ["argmax"]
    one = figures["by_decoder"]["argmax"]
    assert one["nme"] == pytest.approx(6.25)
    assert one["by_subset"]["first"]["nme"] == pytest.approx(6.25)
    assert one["by_group"]["chin"] == pytest.approx(6.25)


def test_coverage_counts_the_points_within_the_ellipses(tmp_path: Path) -> None:
    predictions = evaluate(faces(tmp_path, WFLW98), WFLW98)
    # every point is off by 4 pixels to the right; their squared distances under a variance v are 16 / v
    covariances = np.broadcast_to(np.eye(2) * 16 / 2, (4, 98, 2, 2)).copy()
    covariances[2:, 96:] = np.eye(2) * 16 / 5
    decoded: dict[DecoderName, Decoded] = {
        1: predictions.decoded[1]._replace(covariances=covariances.astype(np.float32))
    }
    found = replace(predictions, decoded=decoded)
    # the Gaussian ellipse of 50 % reaches 1.39, that of 90 % 4.61, and that of 95 % 5.99
    assert found.coverage(1, {})["jaw"] == {"0.5": 0.0, "0.9": 100.0, "0.95": 100.0}
    assert found.coverage(1, {})["pupils"] == {"0.5": 0.0, "0.9": 50.0, "0.95": 100.0}
    assert found.coverage(1, {})["all"]["0.9"] == pytest.approx(100 * (1 - 4 / 4 / 98))
    # with 2.5 degrees of freedom, that of 90 % reaches 0.5 (10^0.8 - 1) = 2.65
    assert found.coverage(1, {"pupils": 2.5})["pupils"]["0.9"] == 50.0


def test_a_lone_face_has_figures(tmp_path: Path) -> None:
    figures = summary(evaluate(faces(tmp_path, AFLW19, count=1), AFLW19), [1], 1)
    assert figures["auroc"] is None
    json.dumps(figures, allow_nan=False)


def test_no_faces_are_refused() -> None:
    with pytest.raises(TrainingError, match="no faces to evaluate"):
        evaluate([], AFLW19)


def test_a_run_trained_with_floor_is_corrected_wherever_it_is_read(tmp_path: Path) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces", train=4, val=2))
    values = {"stages": [{"epochs": 1, "input_size": 32}], "batch_size": 4, "quantizer": "floor"}
    data = TrainingData((source.name,), source.train_faces())
    LandmarkRun(Config.model_validate(values), data, tmp_path / "run", workers=0).train(source.test_faces())
    run = open_run(tmp_path / "run")
    plain = predict(run.network, source.test_faces(), run.codec, run.crop_scale, [9])
    corrected = predict(run.network, source.test_faces(), run.codec, run.crop_scale, [9], correction=run.correction)
    # half a cell of 4 pixels
    assert corrected.decoded[9].points - plain.decoded[9].points == pytest.approx(2.0, abs=1e-5)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["by_k"]["9"]["nme"] == pytest.approx(corrected.report(9).nme, rel=1e-4)
    assert report["by_k"]["9"]["nme"] != pytest.approx(plain.report(9).nme, rel=1e-4)
    with pytest.raises(TrainingError, match="quantizer 'floor', whose decoding needs a correction"):
        export(tmp_path / "run", tmp_path / "model_repo")
