"""What a review shows, read back from the video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="the extra `vfx` is not installed")

import av

from shots.errors import ShotError
from shots.reading.colour import BuiltIn
from shots.reading.picture import Picture
from shots.review import write_review
from shots.tracks import ShotFrame, ShotTracks
from tests.shots.made import made_face, made_shot

WIDTH, HEIGHT, PLOTS = 640, 360, 220
GREY = 90


def read(path: Path) -> tuple[object, list[np.ndarray]]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return rate, [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def shot() -> ShotTracks:
    """A face whose points all lie at (320, 90) and move by 20 pixels; it is not found in the last frame, which is
    missing.
    """
    face = made_face(frames=(1001, 1002, 1003), at=(320.0, 90.0), step=20.0)
    face = replace(face, scores=np.array([1.0, 0.0, 1.0]), boxes=face.boxes - np.array([0, 100, 0, 100]))
    plate = made_shot(face, frames=range(1001, 1005), width=WIDTH, height=HEIGHT)
    frames = (*plate.frames[:3], ShotFrame(1004, state="missing"))
    report = {"faces": [{"id": 1, "flicker_by_frame": {"raw": [None, 0.4, 0.2], "smoothed": [None, 0.1, 0.1]}}]}
    return replace(plate, frames=frames, report=report)


@pytest.fixture(scope="module")
def video(shot: ShotTracks, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    path = tmp_path_factory.mktemp("review") / "shot.mp4"
    picture = Picture(np.full((HEIGHT, WIDTH, 3), GREY, np.uint8))
    frames = [(frame, picture if frame.state == "read" else None) for frame in shot.frames]
    write_review(path, shot, frames, BuiltIn())
    rate, images = read(path)
    assert rate == shot.plate.rate
    assert {image.shape for image in images} == {(HEIGHT + PLOTS, WIDTH, 3)}
    return images


def test_points_are_where_they_are_smoothed_to(video: list[np.ndarray]) -> None:
    for i, image in enumerate(video[:3]):
        x, y = 320 + 20 * i, 90 + 20 * i
        red, _, blue = image[y, x]
        assert blue - red > 60
        assert abs(image[y + 8, x + 8] - GREY).max() < 30
    assert abs(video[0][130, 360] - GREY).max() < 20  # where the third frame has the points


def test_a_missing_frame_is_black_with_its_number(video: list[np.ndarray]) -> None:
    image = video[3][:HEIGHT]
    assert image[: HEIGHT - 60].max() < 20
    assert image[HEIGHT - 40 :, :200].max() > 150


def test_the_mark_of_the_plots_moves_from_one_end_to_the_other(video: list[np.ndarray]) -> None:
    marks = [int(np.argmax(image[HEIGHT + 40 : HEIGHT + PLOTS, :].min(axis=(0, 2)))) for image in video]
    assert marks == pytest.approx([6, 215, 425, 634], abs=1)


def test_the_score_is_drawn_over_the_frames(video: list[np.ndarray]) -> None:
    """It falls to 0 in the second of four frames, and ends in the third."""
    plot = video[3][HEIGHT : HEIGHT + 110]
    is_curve = plot[:, :, 2] - plot[:, :, 0] > 60
    assert 95 < np.flatnonzero(is_curve[:, 215]).mean() < 110
    assert 20 < np.flatnonzero(is_curve[:, 423]).mean() < 40
    assert not is_curve[:, 440:].any()


def test_pixels_become_square_and_large_plates_small(shot: ShotTracks, tmp_path: Path) -> None:
    for (width, height, aspect), size in [((2048, 1716, 2.0), (1280, 536)), ((300, 256, 1.0), (480, 410))]:
        other = replace(shot, plate=replace(shot.plate, width=width, height=height, pixel_aspect=aspect))
        picture = Picture(np.full((height, width, 3), 0.2, np.float16))
        write_review(tmp_path / "a.mp4", other, [(shot.frames[0], picture)], BuiltIn())
        _, (image,) = read(tmp_path / "a.mp4")
        assert image.shape == (size[1] + PLOTS, size[0], 3)


def test_a_file_that_cannot_be_written(shot: ShotTracks, tmp_path: Path) -> None:
    with pytest.raises(ShotError, match="cannot be written") as caught:
        write_review(tmp_path / "none" / "a.mp4", shot, [(shot.frames[3], None)], BuiltIn())
    assert caught.value.code == "unwritable"
