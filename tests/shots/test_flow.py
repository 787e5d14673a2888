"""The optical flow of points, on pictures whose motion is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.crop import transform_points
from shots.flow import follow

POINTS = np.stack(np.meshgrid(np.linspace(140, 260, 7), np.linspace(110, 200, 7)), axis=-1).reshape(-1, 2)


def texture(height: int = 300, width: int = 400) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 1, (height, width))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 3) * 500 + 120, 0, 255).astype(np.uint8)


def about_centre(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    centre = np.array([200.0, 150.0])
    return np.column_stack([linear, centre + shift - linear @ centre])


def warped(image: np.ndarray, motion: np.ndarray) -> np.ndarray:
    size = image.shape[1], image.shape[0]
    moved = cv2.warpAffine(image, motion, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


@pytest.mark.parametrize(
    ("angle", "scale", "shift"),
    [(0.0, 1.0, (0.0, 0.0)), (0.0, 1.0, (3.3, -2.6)), (0.05, 1.0, (1.0, 0.0)), (0.0, 1.06, (0.0, 2.0))],
)
def test_points_are_followed_to_a_twentieth_of_a_pixel(angle: float, scale: float, shift: tuple[float, float]) -> None:
    before, motion = texture(), about_centre(angle, scale, shift)
    after = warped(before, motion)
    flow = follow(before, after, POINTS)
    error = np.linalg.norm(flow.points - transform_points(motion, POINTS), axis=1)
    assert np.median(error) < 0.05
    assert (error < 0.2).mean() > 0.9
    assert (flow.covariances[:, [0, 2]] > 0).all()


@settings(max_examples=25)
@given(st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
def test_a_fraction_of_a_pixel_is_found_without_bias(shift: tuple[float, float]) -> None:
    """The picture is shifted by a Fourier transform, which unlike interpolation is exact."""
    before = texture()
    padded = np.pad(before.astype(np.float64), 32, mode="reflect")
    height, width = padded.shape
    phase = np.add.outer(np.fft.fftfreq(height) * shift[1], np.fft.fftfreq(width) * shift[0])
    shifted = np.fft.ifft2(np.fft.fft2(padded) * np.exp(-2j * np.pi * phase)).real[32:-32, 32:-32]
    after = np.clip(shifted.round(), 0, 255).astype(np.uint8)
    # with cubic interpolation 0.05
    assert np.abs((follow(before, after, POINTS).points - POINTS - shift).mean(axis=0)).max() < 0.03


def test_a_large_face_is_followed_in_a_reduced_image() -> None:
    before = np.asarray(cv2.resize(texture(), (1600, 1200), interpolation=cv2.INTER_CUBIC), np.uint8)
    motion = np.array([[1.0, 0, 6.5], [0, 1.0, -3.0]])
    after = warped(before, motion)
    error = np.linalg.norm(follow(before, after, POINTS * 4).points - POINTS * 4 - [6.5, -3.0], axis=1)
    assert np.median(error) < 0.2


def test_where_nothing_can_be_followed_nothing_is_known() -> None:
    flat = np.full((300, 400), 90, np.uint8)
    flow = follow(flat, flat, POINTS)
    assert np.isfinite(flow.points).all()
    assert (flow.covariances[:, 0] + flow.covariances[:, 2] > 100).all()
    edge = np.random.default_rng(0).integers(88, 93, flat.shape).astype(np.uint8)
    edge[:, 200:] += 70
    along = follow(edge, edge, np.array([[199.5, 130.0 + 5 * i] for i in range(8)]))
    assert (along.covariances[:, 2] > 30 * along.covariances[:, 0]).all()


def test_points_beyond_the_image_are_no_error() -> None:
    image = texture()
    flow = follow(image, image, np.array([[-50.0, -40.0], [500.0, 400.0], [200.0, 150.0], [210.0, 160.0]]))
    assert np.isfinite(flow.points).all()
    assert np.isfinite(flow.covariances).all()
