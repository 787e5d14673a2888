"""Mosaics: their boxes lie on their faces, however tiles were rotated and mirrored and faces pasted in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.datasets.boxes import clipped, overlap_of_smaller
from train.detection.config import Compose
from train.detection.images import BoxedImage
from train.detection.mosaic import Mosaic, MosaicComposer, cover

SIZE = 128
FACE = (250, 240, 230)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[BoxedImage]:
    """Gray images, each with a bright ellipse that fills its box, and nothing else as bright."""
    folder, rng, images = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for i in range(6):
        image = rng.integers(20, 100, (240, 320, 3), np.uint8)
        center, radii = (int(rng.integers(90, 230)), int(rng.integers(90, 150))), (40, 56)
        cv2.ellipse(image, center, radii, 0, 0, 360, FACE[::-1], -1)
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), image)
        x, y = center
        images.append(BoxedImage(path, np.array([[x - 40.0, y - 56.0, x + 40.0, y + 56.0]]), np.array([0.9])))
    return images


def composed(images: list[BoxedImage], seed: int, **settings: Any) -> Mosaic:
    plain = {"occlusion": 0.0, "paste": 0.0, "backdrop": 0.0, "background": 0.0} | settings
    config = Compose.model_validate(plain)
    return MosaicComposer(images, config, SIZE, 0.7).compose(seed % len(images), np.random.default_rng(seed))


def bright(mosaic: Mosaic, box: np.ndarray) -> float:
    """The share of a box's inscribed ellipse, as far as it is shown, that is as bright as a face."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = (box[:2] + box[2:]) / 2
    a, b = (box[2:] - box[:2]) / 2
    within = ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 0.8
    return float((mosaic.image[..., 0][within] > 180).mean())


@given(st.sampled_from([1, 2, 4]), st.floats(0, 30), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_boxes_lie_on_their_faces(
    images: list[BoxedImage], tiles: int, rotation: float, flip: float, seed: int
) -> None:
    mosaic = composed(images, seed, tiles={tiles: 1.0}, rotation=rotation, flip=flip, any_rotation=0.0)
    assert mosaic.image.shape == (SIZE, SIZE, 3)
    assert len(mosaic.boxes) == len(mosaic.trusted)
    for box in mosaic.boxes[mosaic.trusted]:
        x1, y1, x2, y2 = box
        if min(x1, y1) >= 0 and max(x2, y2) < SIZE and x2 - x1 < SIZE / tiles:
            # neighbouring tiles may cut a part of it away, and pixels are coarse
            assert bright(mosaic, box) > 0.55


def test_pasted_faces_are_bright_too(images: list[BoxedImage]) -> None:
    for seed in range(12):
        before = composed(images, seed, tiles={1: 1.0}, any_rotation=0.0)
        after = composed(images, seed, tiles={1: 1.0}, any_rotation=0.0, paste=1.0, rotation=0.0)
        added = after.boxes[len(before.boxes) :]
        assert after.trusted[len(before.boxes) :].all()
        for i, box in enumerate(added):
            assert bright(after, box) > 0.8
            assert overlap_of_smaller(box, np.delete(after.boxes, len(before.boxes) + i, axis=0)).max(initial=0) < 0.06


def test_the_same_draws_give_the_same_mosaic(images: list[BoxedImage]) -> None:
    first, second = (composed(images, 5, paste=1.0, backdrop=1.0, occlusion=0.5) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.boxes, second.boxes)


def test_every_box_is_the_part_of_a_face_that_the_mosaic_shows(images: list[BoxedImage]) -> None:
    for seed in range(10):
        mosaic = composed(images, seed, tiles={3: 1.0}, any_rotation=1.0, background=0.5)
        assert (clipped(mosaic.boxes, SIZE) == mosaic.boxes).all()


def test_boxes_that_are_not_trusted_are_kept_as_such(images: list[BoxedImage]) -> None:
    untrusted = [BoxedImage(image.path, image.boxes, np.array([0.6 if i else 0.9])) for i, image in enumerate(images)]
    composer = MosaicComposer(untrusted, Compose(tiles={1: 1.0}, background=1.0, paste=0.0), SIZE, 0.7)
    drawn = [composer.compose(1, np.random.default_rng(seed)) for seed in range(20)]
    assert sum(len(one.boxes) for one in drawn) > 0
    assert not any(one.trusted.any() for one in drawn)


def test_pictures_without_faces_are_shown_where_they_look_like_one(tmp_path: Path, images: list[BoxedImage]) -> None:
    """A black picture with a blue spot, which a detector took for a face."""
    picture = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(picture, (120, 90), 20, (255, 0, 0), -1)
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    spot = np.array([[100.0, 70.0, 140.0, 110.0]])
    faceless = BoxedImage(tmp_path / "picture.png", np.zeros((0, 4)), np.zeros(0), spot)
    config = Compose(tiles={1: 1.0}, faceless=1.0, lookalike=1.0, backdrop=0.0, paste=0.0)
    composer = MosaicComposer([*images, faceless], config, SIZE, 0.7)
    for seed in range(10):
        mosaic = composer.compose(0, np.random.default_rng(seed))
        assert len(mosaic.boxes) == 0
        assert (mosaic.image[..., 2] > 200).any()


def test_faces_larger_than_a_tile_are_cut_by_it(images: list[BoxedImage]) -> None:
    filled = [composed(images, seed, tiles={1: 1.0}, sizes=(140.0, 166.0), any_rotation=0.0) for seed in range(20)]
    boxes = np.concatenate([mosaic.boxes[mosaic.trusted] for mosaic in filled])
    assert len(boxes) >= 18
    assert np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)) > 0.95 * SIZE


@given(st.integers(32, 120), st.integers(32, 120), st.integers(0, 2**32 - 1))
def test_a_cover_leaves_more_than_half_of_a_face(height: int, width: int, seed: int) -> None:
    mask = cover(height, width, np.random.default_rng(seed))
    assert mask.shape == (height, width)
    assert mask.sum() > 0
    assert mask.mean() < 0.5


def test_occlusion_leaves_the_box(images: list[BoxedImage]) -> None:
    plain = composed(images, 3, tiles={1: 1.0}, any_rotation=0.0)
    occluded = composed(images, 3, tiles={1: 1.0}, any_rotation=0.0, occlusion=1.0)
    assert np.array_equal(plain.boxes, occluded.boxes)
    changed = (plain.image != occluded.image).any(axis=2).mean()
    assert 0 < changed < 0.5
