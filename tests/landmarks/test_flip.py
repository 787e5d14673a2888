import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from landmarks.codec import Decoded
from landmarks.flip import average, mirror, with_mirrored
from landmarks.layout import WFLW98, PointLayout


def constant_answer(value: float) -> Decoded:
    """An answer for one crop in which every number is `value`."""
    return Decoded(*(np.full((1, 98, *shape), value, np.float32) for shape in ((2,), (), (2, 2), ())))


def joined(a: Decoded, b: Decoded) -> Decoded:
    return Decoded(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))


def test_the_crops_come_first_and_their_mirror_images_after() -> None:
    crops = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    both = with_mirrored(crops)
    assert both.shape == (4, 3, 3, 3)
    assert (both[:2] == crops).all()
    assert both[2, 0].tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]


def test_a_point_by_hand() -> None:
    # the layout's points 0 and 32, the two ends of the jaw, change places in a mirror
    assert WFLW98.flip[0] == 32
    seen, mirrored = constant_answer(1), constant_answer(2)
    seen.points[0, 0], mirrored.points[0, 32] = (10.0, 50.0), (241.0, 54.0)  # 241 is 255 - 14
    seen.scores[0, 0], mirrored.scores[0, 32] = 0.5, 0.75
    seen.covariances[0, 0] = [[4.0, 1.0], [1.0, 2.0]]
    mirrored.covariances[0, 32] = [[2.0, -1.0], [-1.0, 2.0]]
    answer = average(joined(seen, mirrored), 256, WFLW98)
    assert answer.points[0, 0].tolist() == [12.0, 52.0]
    assert answer.scores[0, 0] == 0.625
    # means 3, 1 and 2, and the points lie (2, 2) from their mean
    assert answer.covariances[0, 0].tolist() == [[7.0, 5.0], [5.0, 6.0]]
    assert {values.dtype for values in answer} == {np.dtype(np.float32)}


def test_visibility_changes_sides_with_its_point_and_is_averaged() -> None:
    seen, mirrored = constant_answer(1), constant_answer(1)
    seen.visibility[0, 0], mirrored.visibility[0, 32] = 0.25, 0.75
    assert average(joined(seen, mirrored), 256, WFLW98).visibility[0, [0, 32]].tolist() == [0.5, 1.0]


def test_points_of_another_layout_have_pairs_of_their_own() -> None:
    layout = PointLayout("two", ("right", "left"), flip=(1, 0), groups={"both": (0, 1)}, norm="box")
    flat = np.zeros((2, 2, 2, 2), np.float32)
    points = np.array([[[3, 5], [11, 6]], [[3, 6], [11, 7]]], np.float32)
    scores = np.array([[0.5, 0.25], [0.75, 0.5]], np.float32)
    answer = average(Decoded(points, scores, flat, np.zeros((2, 0), np.float32)), 16, layout)
    # the mirrored answer, back: (15 - 11, 7) and (15 - 3, 6)
    assert answer.points.tolist() == [[[3.5, 6.0], [11.5, 6.0]]]
    assert answer.scores.tolist() == [[0.5, 0.5]]


THREE = PointLayout("three", ("right", "left", "middle"), flip=(1, 0, 2), groups={"all": (0, 1, 2)}, norm="box")


@st.composite
def answers(draw: st.DrawFn, count: int, columns: int = 3) -> Decoded:
    """What a network may answer for `count` crops of 256 pixels; with no `columns` it states no visibility."""
    points = draw(arrays(np.float32, (count, 3, 2), elements=st.floats(-10, 265, width=32)))
    scores = draw(arrays(np.float32, (count, 3), elements=st.floats(0, 1, width=32)))
    half = draw(arrays(np.float32, (count, 3, 2, 2), elements=st.floats(-5, 5, width=32)))
    visibility = draw(arrays(np.float32, (count, columns), elements=st.floats(0, 1, width=32)))
    return Decoded(points, scores, half @ half.swapaxes(-1, -2), visibility)


@given(answers(2) | answers(2, columns=0))
def test_a_network_that_treats_mirror_images_alike_gains_nothing_and_loses_nothing(seen: Decoded) -> None:
    answer = average(joined(seen, mirror(seen, 256, THREE)), 256, THREE)
    for ours, theirs in zip(answer, seen, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@given(answers(1), answers(1))
def test_which_of_the_two_was_mirrored_makes_no_difference(seen: Decoded, mirrored: Decoded) -> None:
    there = mirror(average(joined(seen, mirrored), 256, THREE), 256, THREE)
    back = average(joined(mirrored, seen), 256, THREE)
    for ours, theirs in zip(there, back, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)
