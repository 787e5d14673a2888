"""What the measurement of close-ups shows the service."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from bench.accuracy import close_up

IMAGE = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "fill", "corner", "side"),
    [
        # a box of 60 x 80 pixels about (150, 100): half of 160 pixels, all of 80, more than all of 67
        ((120.0, 60.0, 180.0, 140.0), 0.5, [70, 20], 160),
        ((120.0, 60.0, 180.0, 140.0), 1.0, [110, 60], 80),
        ((120.0, 60.0, 180.0, 140.0), 1.2, [116, 66], 67),
        # near the image's corner the frame is moved into it
        ((0.0, 0.0, 60.0, 80.0), 0.5, [0, 0], 160),
        ((240.0, 120.0, 300.0, 200.0), 0.5, [140, 40], 160),
    ],
)
def test_a_box_fills_its_share_of_the_frame(box: tuple[float, ...], fill: float, corner: list[int], side: int) -> None:
    cut = close_up(IMAGE, np.array(box), fill)
    assert cut is not None
    pixels, at = cut
    assert at.tolist() == corner
    left, top = corner
    np.testing.assert_array_equal(pixels, IMAGE[top : top + side, left : left + side])


def test_a_frame_beyond_the_image_is_left_out() -> None:
    assert close_up(IMAGE, np.array([120.0, 40.0, 200.0, 141.0]), 0.5) is None
