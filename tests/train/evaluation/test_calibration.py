"""Covariances fitted to a run's errors: found again where they are known, and carried into the exported model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec
from landmarks.layout import WFLW98
from landmarks.size import Size
from tests.train.miniature import write_miniature
from train.commands import calibrate as calibrate_command
from train.config import Config
from train.datasets.layouts import AFLW19
from train.datasets.source import DataSource
from train.datasets.training_data import TrainingData
from train.engine.landmark_run import LandmarkRun
from train.errors import TrainingError
from train.evaluation.calibrate_run import calibrate_run
from train.evaluation.calibration import (
    Calibration,
    ErrorStats,
    calibrate,
    mirrored_group,
    split_difficulty,
    uncalibrated,
)
from train.evaluation.student import Tails
from train.evaluation.trained import open_run


def drawn(faces: int, factor: float, seed: int) -> ErrorStats:
    """Squared distances whose scale is 2 at the jaw and 1 elsewhere, Gaussian, times a factor; spreads are equal."""
    scale = np.ones(98)
    scale[:33] = 2.0
    return ErrorStats(factor * scale * np.random.default_rng(seed).exponential(2.0, (faces, 98)), np.ones(faces))


def both(first: ErrorStats, second: ErrorStats) -> ErrorStats:
    pairs = ((first.distances, second.distances), (first.spreads, second.spreads))
    return ErrorStats(*(np.concatenate(pair) for pair in pairs))


def test_groups_are_fitted_to_all_faces_and_their_common_factor_to_those_held_out() -> None:
    every = both(drawn(900, 1.0, 1), drawn(100, 1.5, 2))
    fitted = calibrate(every, np.arange(1000) >= 900, 0.16, WFLW98)
    assert (fitted.faces, fitted.held_out, fitted.floor) == (1000, 100, 0.16)
    assert fitted.tails["jaw"].scale == pytest.approx(3.0, rel=0.1)
    assert fitted.tails["nose"].scale == pytest.approx(1.5, rel=0.1)
    assert fitted.tails["jaw"].degrees_of_freedom > 15


def test_the_errors_of_faces_with_wide_maps_grow_with_a_power_of_the_spread() -> None:
    """Half of the faces held out have twice the spread, and twice the squared distance that their moments imply."""
    plain, wide = drawn(500, 1.0, 1), drawn(500, 2.0, 2)
    every = both(plain, ErrorStats(wide.distances, np.full(500, 2.0)))
    fitted = calibrate(every, np.arange(1000) % 10 == 0, 0.16, WFLW98)
    assert fitted.power == pytest.approx(1.0, abs=0.05)
    assert fitted.tails["nose"].scale == pytest.approx(1.0, rel=0.1)
    assert fitted.apply(CodecSpec(), WFLW98).covariance_power == fitted.power
    # that the spread of faces held out is wide is no difficulty by itself
    assert split_difficulty(every, np.arange(1000) >= 900, WFLW98) == pytest.approx(1.0, rel=0.05)


def test_the_difficulty_of_the_faces_held_out_is_not_counted_as_an_effect_of_training() -> None:
    """Their distances are 1.5 times as large, and 1.2 times for a network that was trained on them too."""
    held_out = np.arange(1000) >= 900
    reference = both(drawn(900, 0.3, 3), drawn(100, 0.3 * 1.2, 4))
    difficulty = split_difficulty(reference, held_out, WFLW98)
    assert difficulty == pytest.approx(1.2, rel=0.05)
    every = both(drawn(900, 1.0, 1), drawn(100, 1.5, 2))
    fitted = calibrate(every, held_out, 0.16, WFLW98, difficulty)
    assert fitted.tails["nose"].scale == pytest.approx(1.5 / 1.2, rel=0.1)


def test_without_faces_held_out_the_scale_is_that_of_all_faces() -> None:
    fitted = calibrate(drawn(500, 1.0, 1), np.zeros(500, np.bool_), 0.0, WFLW98)
    assert fitted.tails["jaw"].scale == pytest.approx(2.0, rel=0.1)


def test_a_group_that_nobody_annotated_is_left_out() -> None:
    some = np.random.default_rng(0).exponential(2.0, (50, 19))
    some[:, AFLW19.groups["chin"]] = np.nan
    fitted = calibrate(ErrorStats(some, np.ones(50)), np.arange(50) > 40, 0.0, AFLW19)
    assert set(fitted.tails) == set(AFLW19.groups) - {"chin"}


def test_mirror_images_are_calibrated_alike() -> None:
    """The right brow's errors are twice the left one's, by chance: in a mirror it would be the other way round."""
    assert {name: mirrored_group(name, WFLW98) for name in WFLW98.groups} == {
        "jaw": "jaw",
        "right_brow": "left_brow",
        "left_brow": "right_brow",
        "nose": "nose",
        "right_eye": "left_eye",
        "left_eye": "right_eye",
        "outer_lips": "outer_lips",
        "inner_lips": "inner_lips",
        "pupils": "pupils",
    }
    every = drawn(500, 1.0, 1)
    every.distances[:, WFLW98.groups["right_brow"]] *= 2.0
    tails = calibrate(every, np.zeros(500, np.bool_), 0.0, WFLW98).tails
    assert tails["right_brow"] == tails["left_brow"]
    assert tails["right_brow"].scale == pytest.approx(1.5, rel=0.1)
    assert tails["nose"].scale == pytest.approx(1.0, rel=0.1)


def test_a_calibration_is_applied_group_by_group() -> None:
    calibration = Calibration({"pupils": Tails(0.5, 7.123)}, 0.16, 10, 2)
    codec = calibration.apply(CodecSpec(), WFLW98)
    assert codec.covariance_scale == (1.0,) * 96 + (0.5, 0.5)
    assert codec.covariance_floor == 0.16
    assert calibration.degrees_of_freedom == {"pupils": 7.12}


def test_an_uncalibrated_codec_adds_the_square_of_a_tenth_of_a_cell() -> None:
    spec = uncalibrated(CodecSpec(covariance_scale=3.0, covariance_power=1.0))
    assert (spec.covariance_scale, spec.covariance_floor, spec.covariance_power) == (1.0, 0.16, 0.0)


def test_a_run_is_calibrated_on_the_faces_for_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces", train=6, val=2))
    config = Config.model_validate({"stages": [{"epochs": 1, "input_size": 32}], "batch_size": 4})
    LandmarkRun(config, TrainingData(("faces300w",), source.train_faces()), tmp_path / "run", workers=0).train(
        source.test_faces()
    )
    assert open_run(tmp_path / "run").codec.covariance_scale == 1.0
    calibration = calibrate_run(tmp_path / "run", [source], every=2)
    assert calibration.faces == 6
    assert 0 < calibration.held_out < 6
    assert set(calibration.tails) == set(WFLW98.groups)
    assert Calibration.read(tmp_path / "run") == calibration
    calibrated = open_run(tmp_path / "run")
    assert calibrated.codec == calibration.apply(config.codec(Size.square(32)), WFLW98)
    assert calibrated.degrees_of_freedom == calibration.degrees_of_freedom
    assert calibrated.plausibility == calibration.plausibility is not None
    # again, from the same moments as before
    assert calibrate_run(tmp_path / "run", [source], every=2) == calibration
    json.loads((tmp_path / "run" / "calibration.json").read_text())
    # a run that held nothing out can measure how hard the faces held out now are; measured by itself they are not
    referred = calibrate_run(tmp_path / "run", [source], every=2, references=[tmp_path / "run"])
    assert referred.tails["nose"].scale == pytest.approx(
        calibrate_run(tmp_path / "run", [source], every=0).tails["nose"].scale
    )
    assert capsys.readouterr().err.count("no face was held out") == 0
    calibrate_command.run(
        run=tmp_path / "run",
        data=[f"faces300w:{source.root}"],
        conversion=None,
        held_out=0,
        references=[],
        limit=None,
        power=None,
        poses=[f"faces300w:{source.root}"],
        boxes="P2",
    )
    assert "the covariances are fitted to training errors alone and will be too small" in capsys.readouterr().err
    held = LandmarkRun(config.model_copy(update={"held_out": 2}), TrainingData((), []), tmp_path / "held", workers=0)
    held.folder.mkdir()
    held.save()
    with pytest.raises(TrainingError, match="held held faces out of training itself"):
        calibrate_run(tmp_path / "run", [source], references=[tmp_path / "held"])
