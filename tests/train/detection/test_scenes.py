"""Composed pictures: their boxes lie on their faces, whatever was turned, mirrored, tiled or put in."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest

from landmarks.crop import Crop, compose, mirror
from train.detection.config import Compose
from train.detection.photographs import Photograph
from train.detection.scenes import (
    Composer,
    Scene,
    clipped,
    overlap_share,
    share_within,
    transform_boxes,
)

SIZE = 128
FACE = (250, 240, 230)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Photograph]:
    """Grey pictures, each with a bright ellipse that fills its box, and nothing else as bright."""
    folder, rng, photos = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0), []
    for i in range(6):
        image = rng.integers(20, 100, (240, 320, 3), np.uint8)
        center, radii = (int(rng.integers(90, 230)), int(rng.integers(90, 150))), (40, 56)
        cv2.ellipse(image, center, radii, 0, 0, 360, FACE[::-1], -1)
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), image)
        x, y = center
        photos.append(Photograph(path, np.array([[x - 40.0, y - 56.0, x + 40.0, y + 56.0]]), np.array([0.9])))
    return photos


def composed(photographs: list[Photograph], seed: int, **settings: Any) -> Scene:
    plain = {"occlusion": 0.0, "paste": 0.0, "backdrop": 0.0, "background": 0.0} | settings
    config = Compose.model_validate(plain)
    return Composer(photographs, config, SIZE, 0.7).scene(seed % len(photographs), np.random.default_rng(seed))


def bright(scene: Scene, box: np.ndarray) -> float:
    """The share of a box's inscribed ellipse, as far as it is shown, that is as bright as a face."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = (box[:2] + box[2:]) / 2
    a, b = (box[2:] - box[:2]) / 2
    within = ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 0.8
    return float((scene.image[..., 0][within] > 180).mean())


@pytest.mark.parametrize("tiles", [1, 2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_boxes_lie_on_their_faces(photographs: list[Photograph], tiles: int, seed: int) -> None:
    scene = composed(photographs, seed, tiles={tiles: 1.0}, rotation=15.0, any_rotation=0.0)
    assert scene.image.shape == (SIZE, SIZE, 3)
    assert len(scene.boxes) == len(scene.trusted)
    for box in scene.boxes[scene.trusted]:
        x1, y1, x2, y2 = box
        if min(x1, y1) >= 0 and max(x2, y2) < SIZE and x2 - x1 < SIZE / tiles:
            # neighbouring tiles may cut a part of it away, and pixels are coarse
            assert bright(scene, box) > 0.55


def test_faces_that_are_put_in_are_bright_too(photographs: list[Photograph]) -> None:
    for seed in range(12):
        before = composed(photographs, seed, tiles={1: 1.0}, any_rotation=0.0)
        after = composed(photographs, seed, tiles={1: 1.0}, any_rotation=0.0, paste=1.0, rotation=0.0)
        added = after.boxes[len(before.boxes) :]
        assert after.trusted[len(before.boxes) :].all()
        for i, box in enumerate(added):
            assert bright(after, box) > 0.8
            assert overlap_share(box, np.delete(after.boxes, len(before.boxes) + i, axis=0)).max(initial=0) < 0.06


def test_the_same_draws_give_the_same_picture(photographs: list[Photograph]) -> None:
    first, second = (composed(photographs, 5, paste=1.0, backdrop=1.0, occlusion=0.5) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.boxes, second.boxes)


def test_every_box_is_the_part_of_a_face_that_the_picture_shows(photographs: list[Photograph]) -> None:
    for seed in range(10):
        scene = composed(photographs, seed, tiles={3: 1.0}, any_rotation=1.0, background=0.5)
        assert (clipped(scene.boxes, SIZE) == scene.boxes).all()


def test_boxes_that_are_not_trusted_are_kept_as_such(photographs: list[Photograph]) -> None:
    doubtful = [
        Photograph(photo.path, photo.boxes, np.array([0.6 if i else 0.9])) for i, photo in enumerate(photographs)
    ]
    scene = Composer(doubtful, Compose(tiles={1: 1.0}, background=1.0, paste=0.0), SIZE, 0.7)
    drawn = [scene.scene(1, np.random.default_rng(seed)) for seed in range(20)]
    assert sum(len(one.boxes) for one in drawn) > 0
    assert not any(one.trusted.any() for one in drawn)


def test_hiding_leaves_the_box(photographs: list[Photograph]) -> None:
    plain = composed(photographs, 3, tiles={1: 1.0}, any_rotation=0.0)
    hidden = composed(photographs, 3, tiles={1: 1.0}, any_rotation=0.0, occlusion=1.0)
    assert np.array_equal(plain.boxes, hidden.boxes)
    changed = (plain.image != hidden.image).any(axis=2).mean()
    assert 0 < changed < 0.5


# ---------------------------------------------------------------- geometry

BOX = np.array([[10.0, 20.0, 30.0, 60.0]])


def test_a_quarter_turn_swaps_width_and_height() -> None:
    turned = transform_boxes(Crop(20.0, 40.0, 100.0, 100, math.pi / 2).image_to_crop(), BOX)
    assert turned[0].tolist() == pytest.approx([29.5, 39.5, 69.5, 59.5])


def test_an_eighth_of_a_turn_bounds_the_ellipse() -> None:
    """Half-axes 10 and 20: sqrt((100 + 400) / 2) = 15.811 either way."""
    turned = transform_boxes(Crop(20.0, 40.0, 101.0, 101, math.pi / 4).image_to_crop(), BOX)
    assert turned[0].tolist() == pytest.approx([50 - 15.811, 50 - 15.811, 50 + 15.811, 50 + 15.811], abs=1e-3)


def test_a_mirrored_box() -> None:
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert transform_boxes(compose(mirror(100), identity), BOX)[0].tolist() == [69.0, 20.0, 89.0, 60.0]


def test_shares_and_overlaps() -> None:
    # pixels 0 to 19 are shown, edges -0.5 and 19.5: half of the box's width, nothing of its height
    assert share_within(np.array([[9.5, 2.0, 29.5, 12.0], [30.0, 2.0, 40.0, 12.0]]), 20).tolist() == [0.5, 0.0]
    assert clipped(np.array([[9.5, 2.0, 29.5, 12.0]]), 20).tolist() == [[9.5, 2.0, 19.5, 12.0]]
    others = np.array([[20.0, 30.0, 25.0, 40.0], [30.0, 60.0, 50.0, 70.0], [20.0, 20.0, 40.0, 60.0]])
    assert overlap_share(BOX[0], others).tolist() == pytest.approx([1.0, 0.0, 0.5])
