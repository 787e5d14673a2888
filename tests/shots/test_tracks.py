"""The data model, its file, and which points become tracks."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.layout import WFLW98
from shots.errors import ShotError
from shots.selection import chosen_points, select
from shots.tracks import ShotFrame, ShotTracks, read_tracks, write_tracks
from tests.shots.made import made_face, made_shot


def test_the_file_is_read_as_it_was_written() -> None:
    frames = (
        ShotFrame(-1, 0.25, is_cut=True),
        ShotFrame(0, state="missing"),
        ShotFrame(1, state="empty", data_window=(-5, -5, -2, -2)),
        ShotFrame(2, state="unreadable"),
    )
    shot = ShotTracks(
        made_shot(rate=Fraction(24000, 1001), pixel_aspect=2.0).plate,
        frames,
        WFLW98,
        (made_face(3, (-1, 2)),),
        {"name": "compact"},
        {"flow": 1},
        {"flicker": 0.5},
    )
    data = write_tracks(shot)
    read = read_tracks(data)
    assert write_tracks(read) == data
    assert (read.plate, read.frames, read.layout) == (shot.plate, frames, WFLW98)
    assert (read.model, read.settings, read.report) == (shot.model, shot.settings, shot.report)
    (face,) = read.faces
    assert face.id == 3
    np.testing.assert_array_equal(face.smoothed, shot.faces[0].smoothed)
    np.testing.assert_array_equal(face.raw_covariances, shot.faces[0].raw_covariances)
    json.loads(data)


def test_each_frame_of_a_face_has_a_line_of_its_own() -> None:
    lines = write_tracks(made_shot()).decode().splitlines()
    assert sum('"smoothed":' in line for line in lines) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format":"shot.tracks","version":1}',
        write_tracks(made_shot()).replace(b'"frame":1007', b'"frame":1099'),
        write_tracks(made_shot()).replace(b'"frame":1002', b'"frame":1001'),
        write_tracks(made_shot()).replace(b'"score":0.9', b'"score":NaN', 1),
        write_tracks(made_shot()).replace(b'"raw":[[100.75,201.25],', b'"raw":[', 1),
    ],
)
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ShotError) as caught:
        read_tracks(data)
    assert caught.value.code == "not_tracks"


def test_a_file_of_a_later_version_is_refused_as_that() -> None:
    with pytest.raises(ShotError, match="version 2") as caught:
        read_tracks(write_tracks(made_shot()).replace(b'"version":1', b'"version":2'))
    assert caught.value.code == "newer_tracks"


def test_gaps_and_places_in_the_shot() -> None:
    shot = made_shot()
    assert shot.gaps(shot.faces[0]) == [(1004, 1005)]
    assert (shot.first, shot.last, shot.step, shot.index(1004)) == (1001, 1009, 1, 3)
    stepped = made_shot(made_face(frames=(10, 12, 18)), frames=(10, 12, 14, 16, 18))
    assert stepped.gaps(stepped.faces[0]) == [(14, 16)]
    assert (stepped.step, stepped.index(18)) == (2, 4)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30, unique=True))
def test_the_runs_of_a_track_are_its_frames_without_gaps(frames: list[int]) -> None:
    frames.sort()
    (track,) = select(made_shot(made_face(frames=frames), frames=range(-50, 51)), points=("chin",))
    runs = [track.frames[run].tolist() for run in track.runs(1)]
    assert [frame for run in runs for frame in run] == frames
    assert all(run == list(range(run[0], run[-1] + 1)) for run in runs)
    assert all(b[0] - a[-1] > 1 for a, b in pairwise(runs))


def test_points_are_chosen_by_group_name_and_pattern() -> None:
    assert chosen_points(WFLW98, ()) == list(range(98))
    assert chosen_points(WFLW98, ("right_eye",)) == list(range(60, 68))
    assert chosen_points(WFLW98, ("chin", "pupils")) == [16, 96, 97]
    assert chosen_points(WFLW98, ("*_eye_outer_corner", "*_eye_outer_corner")) == [60, 72]
    with pytest.raises(ShotError, match="right_brow") as caught:
        chosen_points(WFLW98, ("nostrils",))
    assert caught.value.code == "unknown_points"


def test_tracks_are_named_after_face_and_point_and_may_be_raw() -> None:
    shot = made_shot(made_face(1), made_face(12, at=(5.0, 6.0)))
    names = [track.name for track in select(shot)]
    assert len(names) == len(set(names)) == 196
    assert names[60] == "face01_right_eye_outer_corner"
    (smoothed,) = select(shot, points=("chin",), faces=(12,))
    (raw,) = select(shot, points=("chin",), faces=(12,), kind="raw")
    assert (smoothed.name, smoothed.positions[0].tolist()) == ("face12_chin", [5.0, 6.0])
    assert raw.positions[0].tolist() == [5.5, 6.5]
    assert raw.covariances[0].tolist() == [0.16, 0.04, 0.36]


def test_a_face_that_is_not_there_and_a_shot_without_faces() -> None:
    with pytest.raises(ShotError, match="its faces: 1"):
        select(made_shot(), faces=(2,))
    shot = made_shot()
    with pytest.raises(ShotError) as caught:
        select(ShotTracks(shot.plate, shot.frames, shot.layout, ()))
    assert caught.value.code == "no_tracks"
