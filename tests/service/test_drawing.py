import numpy as np

from landmarks.layout import WFLW98
from service.drawing import COLOURS, draw


def face(scale=7.0):
    index = np.arange(98)
    return np.stack([40 + scale * (index % 10) * 10, 40 + scale * (index // 10) * 10], axis=1)


def test_the_image_is_copied_and_points_are_marked():
    image = np.zeros((800, 800, 3), np.uint8)
    drawn = draw(image, [face()], WFLW98)
    assert image.max() == 0
    assert drawn.shape == image.shape
    for x, y in face().astype(int):
        assert drawn[y, x].max() > 120


def test_a_small_face_is_enlarged_and_stays_on_its_pixels():
    image = np.zeros((140, 140, 3), np.uint8)
    drawn = draw(image, [face(1.0)], WFLW98)
    assert drawn.shape == (420, 420, 3)
    # the centre of pixel (40, 40) is at 3 * 40 + 1 in an image three times the size
    assert drawn[121, 121].max() > 120


def test_without_faces_the_image_stays_as_it_is():
    image = np.full((20, 30, 3), 9, np.uint8)
    np.testing.assert_array_equal(draw(image, [], WFLW98), image)


def test_points_far_outside_do_not_crash():
    draw(np.zeros((50, 50, 3), np.uint8), [face() * 1e9], WFLW98)


def test_every_group_has_a_colour():
    assert set(COLOURS) == set(WFLW98.groups)


def test_points_of_an_unknown_layout_are_drawn_as_dots_without_outlines():
    far_apart = np.array([[100.0, 100.0], [700.0, 100.0], [400.0, 700.0]])
    drawn = draw(np.zeros((800, 800, 3), np.uint8), [far_apart], WFLW98)
    for x, y in far_apart.astype(int):
        assert drawn[y, x].max() > 120
    assert drawn[100, 400].max() == 0
