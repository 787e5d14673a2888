from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landmarks.codec import decode
from landmarks.crop import transform_points
from landmarks.layout import WFLW98
from landmarks.size import Size
from train.config import Augment, Config, load_config
from train.datasets.face import AnnotatedFace
from train.datasets.layouts import AFLW19
from train.errors import ConfigError
from train.objectives import OUTSIDE
from train.samples.augment import random_crop
from train.samples.dataset import EpochBatches, SampleKey, TrainingSamples, collate

STILL = Augment(flip=0, rotation=0, scale=0, shift=0, brightness=0, contrast=0, saturation=0, erasing=0)
BOX = np.array([20.0, 20.0, 120.0, 140.0])
SIZE = Size.square(128)


def config(augment: Augment = STILL, **changes: object) -> Config:
    return Config.model_validate(
        {"stages": [{"epochs": 2, "input_size": 128}], "batch_size": 4, "augment": augment.model_dump(), **changes}
    )


def dotted_face(folder: Path) -> AnnotatedFace:
    """A gray image with a white dot at point 60 and a black one at point 72, three pixels wide."""
    points = np.tile([[70.0, 80.0]], (98, 1))
    points[60], points[72] = [50, 70], [95, 90]
    image = np.full((160, 160, 3), 128, np.uint8)
    image[69:72, 49:52], image[89:92, 94:97] = 255, 0
    path = folder / "dots.png"
    cv2.imwrite(str(path), image)
    return AnnotatedFace(path, points, BOX)


def test_a_rectangular_sample_by_hand(tmp_path: Path) -> None:
    # the box of 100 x 120 lies in 100 x 133.3, which has the shape of the crop; 166.7 are 128 pixels: 0.768 each.
    # Its center (70, 80) is pixel (47.5, 63.5), so the white dot at (50, 70) is (32.14, 55.82): cell (7.66, 13.58)
    size = Size(width=96, height=128)
    sample = TrainingSamples([dotted_face(tmp_path)], config(quantizer="round"))[SampleKey(0, 0, size)]
    assert sample.crop.shape == (128, 96, 3)
    assert sample.crop[56, 32].min() > 180
    assert divmod(int(sample.targets[60]), 24) == (14, 8)


def cell_of(target: int) -> tuple[int, int]:
    return target % 32, target // 32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_points_move_with_the_image(tmp_path: Path, seed: int) -> None:
    """Whatever the augmentation draws, a target is the cell where its dot is seen; mirrored, the pair is swapped."""
    turning = Augment(brightness=0, contrast=0, saturation=0, erasing=0)
    samples = TrainingSamples([dotted_face(tmp_path)], config(turning, seed=seed))
    crop, targets, _, index = samples[SampleKey(epoch=0, face=0, input_size=SIZE)]
    gray = crop[..., 1].astype(float)
    gray[crop.max(axis=2) == 0] = 128 if gray.min() > 0 else gray[crop.max(axis=2) == 0]
    _, matrix_flipped = random_crop(BOX, 1.25, SIZE, turning, np.random.default_rng([seed, 0, 0]))
    white = targets[WFLW98.flip[60] if matrix_flipped else 60]
    row, column = np.unravel_index(gray.argmax(), gray.shape)
    seen = (np.array([column, row]) + 0.5) / 4 - 0.5
    # rounding moves a target by less than a cell, the dot's width its peak by less than another half
    assert np.abs(np.array(cell_of(int(white))) - seen).max() < 1.6
    assert index == 0


def test_a_mirrored_sample_swaps_the_pairs(tmp_path: Path) -> None:
    always = STILL.model_copy(update={"flip": 1.0})
    plain = TrainingSamples([dotted_face(tmp_path)], config(quantizer="round"))[SampleKey(0, 0, SIZE)]
    mirrored = TrainingSamples([dotted_face(tmp_path)], config(always, quantizer="round"))[SampleKey(0, 0, SIZE)]
    assert np.array_equal(mirrored[0], plain[0][:, ::-1])
    column, row = cell_of(int(plain[1][60]))
    assert cell_of(int(mirrored[1][72])) == (31 - column, row)


def test_weights_follow_their_points_into_a_mirrored_sample(tmp_path: Path) -> None:
    weights = np.linspace(0, 1, 98)
    face = replace(dotted_face(tmp_path), weights=weights)
    always = STILL.model_copy(update={"flip": 1.0})
    plain, mirrored = (TrainingSamples([face], config(each))[SampleKey(0, 0, SIZE)].weights for each in (STILL, always))
    assert plain == pytest.approx(weights)
    assert mirrored[72] == pytest.approx(weights[60])
    assert mirrored[16] == pytest.approx(weights[16])


def test_points_without_stated_weights_count_one_each(tmp_path: Path) -> None:
    assert (TrainingSamples([dotted_face(tmp_path)], config())[SampleKey(0, 0, SIZE)].weights == 1).all()


def test_a_sample_depends_on_seed_epoch_and_face_alone(tmp_path: Path) -> None:
    faces = [dotted_face(tmp_path)] * 2
    first, second = TrainingSamples(faces, config(Augment())), TrainingSamples(faces, config(Augment()))
    second[SampleKey(5, 1, SIZE)]  # what else was made before must not matter
    a, b = first[SampleKey(3, 0, SIZE)], second[SampleKey(3, 0, SIZE)]
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], first[SampleKey(4, 0, SIZE)][0])
    assert not np.array_equal(a[0], first[SampleKey(3, 1, SIZE)][0])


def test_randomized_rounding_is_redrawn_every_epoch(tmp_path: Path) -> None:
    samples = TrainingSamples([dotted_face(tmp_path)], config())
    drawn = {int(samples[SampleKey(epoch, 0, SIZE)][1][60]) for epoch in range(40)}
    assert len(drawn) in (2, 4)


def test_points_beyond_the_crop_are_left_out(tmp_path: Path) -> None:
    face = dotted_face(tmp_path)
    face.points[16] = [1000.0, 1000.0]
    targets = TrainingSamples([face], config())[SampleKey(0, 0, SIZE)].targets
    assert targets[16] == OUTSIDE
    assert (targets >= 0).sum() == 97


def test_points_nobody_annotated_are_left_out(tmp_path: Path) -> None:
    face = dotted_face(tmp_path)
    face.points[16] = np.nan
    targets = TrainingSamples([face], config())[SampleKey(0, 0, SIZE)].targets
    assert targets[16] == OUTSIDE
    assert (targets >= 0).sum() == 97


def test_another_layout_swaps_its_own_pairs(tmp_path: Path) -> None:
    face = replace(dotted_face(tmp_path), points=np.array([[40.0 + i, 60.0 + 2 * i] for i in range(19)]))
    always = STILL.model_copy(update={"flip": 1.0})
    plain, mirrored = (
        TrainingSamples([face], config(augment, quantizer="round"), AFLW19)[SampleKey(0, 0, SIZE)][1]
        for augment in (STILL, always)
    )
    column, row = cell_of(int(plain[0]))
    assert cell_of(int(mirrored[5])) == (31 - column, row)


def test_batches_cover_the_faces_in_a_new_order_every_epoch() -> None:
    batches = EpochBatches(10, config())
    first = list(batches)
    batches.epoch = 1
    second = list(batches)
    assert [len(batch) for batch in first] == [4, 4]
    assert len({key.face for batch in first for key in batch}) == 8
    assert [key.face for key in first[0]] != [key.face for key in second[0]]
    assert {key.epoch for batch in second for key in batch} == {1}


def test_an_epoch_shows_a_share_of_the_extra_faces_drawn_anew() -> None:
    batches = EpochBatches(8, config(extra_data_fraction=0.25), extra=[16])
    first = sorted(key.face for batch in batches for key in batch)
    batches.epoch = 1
    second = sorted(key.face for batch in batches for key in batch)
    assert len(batches) == 3
    assert first[:8] == second[:8] == list(range(8))
    assert len(set(first[8:])) == 4
    assert set(first[8:]) | set(second[8:]) <= set(range(8, 24))
    assert first[8:] != second[8:]


def test_every_extra_set_has_a_share_of_its_own() -> None:
    batches = EpochBatches(8, config(extra_data_fraction=[1.0, 0.5]), extra=[4, 8])
    shown = sorted(key.face for batch in batches for key in batch)
    assert len(shown) == 16
    assert shown[:12] == list(range(12))
    assert len(set(shown[12:])) == 4
    assert set(shown[12:]) <= set(range(12, 20))


def test_as_many_shares_as_extra_sets_are_needed() -> None:
    with pytest.raises(ConfigError, match="lists 2 shares, for 1 data sets"):
        EpochBatches(8, config(extra_data_fraction=[1.0, 0.5]), extra=[4])


def test_photometric_changes_replace_the_changes_of_color(tmp_path: Path) -> None:
    quiet = {
        "color_jitter": 0,
        "color_cast": 0,
        "grayscale": 0,
        "darkness": 0,
        "blur": 0,
        "downsample": 0,
        "noise": 0,
        "jpeg": 0,
    }
    plain = TrainingSamples([dotted_face(tmp_path)], config(STILL))[SampleKey(0, 0, SIZE)][0]
    for changes, same in ((quiet, True), (quiet | {"blur": 1.0}, False)):
        augment = Augment.model_validate({"photometric": changes, "brightness": 0.9})
        augment = augment.model_copy(update={"flip": 0, "rotation": 0, "scale": 0, "shift": 0, "erasing": 0})
        crop = TrainingSamples([dotted_face(tmp_path)], config(augment))[SampleKey(0, 0, SIZE)][0]
        assert (crop == plain).all() == same


def test_collate_stacks(tmp_path: Path) -> None:
    samples = TrainingSamples([dotted_face(tmp_path)] * 3, config())
    batch = collate([samples[SampleKey(0, i, SIZE)] for i in range(3)])
    assert tuple(batch.crops.shape) == (3, 128, 128, 3)
    assert tuple(batch.targets.shape) == (3, 98)
    assert batch.weights.dtype == torch.float32
    assert tuple(batch.weights.shape) == (3, 98)
    assert batch.indices.tolist() == [0, 1, 2]


def test_targets_decode_to_the_points_on_average(tmp_path: Path) -> None:
    """Encode a few thousand times, count, and decode the counts: the served decoder gives the point back."""
    face, spec = dotted_face(tmp_path), config()
    samples = TrainingSamples([face], spec)
    counts = np.zeros(32 * 32)
    for epoch in range(1500):
        counts[samples[SampleKey(epoch, 0, SIZE)][1][60]] += 1
    codec = spec.codec(SIZE, points=1)
    with np.errstate(divide="ignore"):
        heatmap = np.log(counts / counts.sum()).reshape(1, 1, 32, 32)
    matrix, _ = random_crop(BOX, 1.25, SIZE, STILL, np.random.default_rng(0))
    assert decode(heatmap, codec, 4).points[0, 0] == pytest.approx(transform_points(matrix, [50, 70]), abs=0.25)


def test_the_shipped_configuration_has_the_default_augmentation() -> None:
    assert load_config(Config, "compact").augment == Augment()
    assert (Augment().rotation, Augment().scale, Augment().shift) == (30, 0.25, 16)
