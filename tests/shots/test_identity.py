"""Which faces are the same through a shot, and where a take starts."""

from __future__ import annotations

import numpy as np

from shots.cuts import differ, glance
from shots.flow import Flow
from shots.identity import identify
from shots.records import FoundFace, Record
from shots.tracks import ShotFrame

SHAPE = np.random.default_rng(0).random((98, 2)) * 100 - 50


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    return differ(glance(before), glance(after))


def face(x: float, y: float = 100.0, size: float = 1.0) -> FoundFace:
    """A face of about 100 pixels at this place."""
    points = SHAPE * size + [x, y]
    return FoundFace(np.array([x - 50, y - 50, x + 50, y + 50]), 0.9, points, np.ones((98, 3)))


def shot(*rows: list[float], cuts: tuple[int, ...] = (), flow: dict[int, list[float]] | None = None) -> list[Record]:
    """Faces by their x. `flow`: the x to which the faces of the frame before are carried, by frame."""
    records = []
    for i, row in enumerate(rows):
        carried = None if flow is None or i not in flow else tuple(
            Flow(face(x).points, np.ones((98, 3))) for x in flow[i]
        )  # fmt: skip
        records.append(Record(ShotFrame(1001 + i, is_cut=i in cuts), tuple(face(x) for x in row), carried))
    return records


def paths(records: list[Record]) -> list[list[float]]:
    """The x of each face through the shot, in the order of their numbers."""
    sightings = identify(records)
    assert [sighting.id for sighting in sightings] == list(range(1, len(sightings) + 1))
    return [[float(np.mean(records[i].faces[j].box[[0, 2]])) for i, j in sighting.places] for sighting in sightings]


def test_faces_keep_their_number_in_whatever_order_they_are_found() -> None:
    assert paths(shot([100, 400], [405, 105], [110, 410])) == [[100, 105, 110], [400, 405, 410]]


def test_two_faces_are_matched_at_the_least_total_cost() -> None:
    """The first face alone would take the place at 130, which is nearer to the second."""
    assert paths(shot([100, 140], [130, 165])) == [[100, 130], [140, 165]]


def test_a_face_that_leaves_does_not_shift_the_numbers_and_one_that_comes_gets_a_new_one() -> None:
    assert paths(shot([100, 400], [400], [400, 700])) == [[100], [400, 400, 400], [700]]


def test_a_face_that_is_not_found_for_some_frames_comes_back() -> None:
    assert paths(shot([100], [], [], [108])) == [[100, 108]]


def test_after_a_second_without_it_a_face_is_another() -> None:
    assert paths(shot([100], *[[]] * 30, [100])) == [[100], [100]]


def test_a_cut_ends_all_faces() -> None:
    assert paths(shot([100], [100], [100], cuts=(2,))) == [[100, 100], [100]]


def test_the_flow_tells_two_faces_apart_that_change_places() -> None:
    records = shot([100, 160], [160, 100], flow={1: [160, 100]})
    assert paths(records) == [[100, 160], [160, 100]]


def test_a_face_of_another_size_at_the_same_place_is_another() -> None:
    records = [
        Record(ShotFrame(1), (face(100),)),
        Record(ShotFrame(2), (face(100, size=0.3),)),
    ]
    assert len(identify(records)) == 2


# ---------------------------------------------------------------- cuts


def picture(seed: int) -> np.ndarray:
    """Smooth random shapes."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8)).astype(np.uint8)
    return np.kron(coarse, np.ones((40, 40), np.uint8))


def test_another_picture_is_a_cut() -> None:
    cuts = [is_cut(picture(i), picture(i + 1)) for i in range(0, 40, 2)]
    assert all(cuts)


def test_motion_noise_and_flashes_are_no_cuts() -> None:
    before = picture(0)
    noise = np.random.default_rng(1).normal(0, 12, before.shape)
    assert not is_cut(before, np.roll(before, 12, axis=1))
    assert not is_cut(before, np.clip(before + noise, 0, 255).astype(np.uint8))
    assert not is_cut(before, (before // 2 + 100).astype(np.uint8))


def test_black_frames_tell_nothing() -> None:
    black = np.zeros((100, 100), np.uint8)
    assert not is_cut(black, black)
    assert not is_cut(black, picture(0)[:100, :100])
