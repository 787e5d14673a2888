"""Which frames a name stands for, and which of them are there."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shots.errors import ShotError

pytest.importorskip("OpenImageIO", reason="the extra `vfx` is not installed")

from shots.reading.sequences import Sequence, frame_set, is_pattern, range_text
from shots.reading.source import Reading, open_shot
from tests.shots.reading.test_images import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """plate.1001.exr to plate.1006.exr without 1004, and files that are no frames of it."""
    for number in (1001, 1002, 1003, 1005, 1006):
        write(tmp_path / f"plate.{number}.exr", np.full((4, 6, 3), number / 10000, np.float32), "half")
    (tmp_path / "plate.1003.exr.bak").write_text("")
    (tmp_path / "plate.exr").write_text("")
    (tmp_path / "other.1001.txt").write_text("")
    return tmp_path


def states(text: str, **options: Any) -> dict[int, str]:
    return {frame.number: frame.state for frame, _ in Sequence(text, **options).frames(lambda _: True)}


ALL = {1001: "read", 1002: "read", 1003: "read", 1004: "missing", 1005: "read", 1006: "read"}


@pytest.mark.parametrize(
    "name", ["plate.####.exr", "plate.#.exr", "plate.@@@@.exr", "plate.%04d.exr", "plate.%d.exr", ""]
)
def test_all_ways_to_name_a_sequence(name: str, folder: Path) -> None:
    assert states(str(folder / name)) == ALL


@pytest.mark.parametrize("name", ["plate.1002-1005#.exr", "plate.1002-1005####.exr", "plate.1002-1005%04d.exr"])
def test_a_range_in_the_name(name: str, folder: Path) -> None:
    assert list(states(str(folder / name))) == [1002, 1003, 1004, 1005]


def test_a_range_of_its_own_wins_and_missing_frames_at_its_ends_count(folder: Path) -> None:
    assert states(str(folder / "plate.1002-1005#.exr"), numbers=frame_set("999-1001,1006")) == {
        999: "missing",
        1000: "missing",
        1001: "read",
        1006: "read",
    }


def test_a_single_file_is_a_shot_of_one_frame(folder: Path) -> None:
    assert states(str(folder / "plate.1003.exr")) == {1003: "read"}


def test_a_picture_has_the_content_of_its_file(folder: Path) -> None:
    source = Sequence(str(folder / "plate.####.exr"), rate=Fraction(24))
    for frame, picture in source.frames(lambda number: number in (1002, 1006)):
        assert picture is not None
        assert float(picture.samples.max()) == pytest.approx(frame.number / 10000, rel=1e-3)
        assert frame.time == frame.number / 24
    assert (source.plate.name, source.plate.rate, source.count) == ("plate", Fraction(24), 6)


def test_negative_frames_and_steps(tmp_path: Path) -> None:
    for number in (-10, -5, 0, 5, 10):
        name = f"{'-' if number < 0 else ''}{abs(number):04d}"
        write(tmp_path / f"a_{name}.exr", np.zeros((4, 6, 3), np.float32), "half")
    found = states(str(tmp_path / "a_####.exr"))
    assert found == {-10: "read", -5: "read", 0: "read", 5: "read", 10: "read"}
    assert list(states(str(tmp_path / "a_-10-10x10#.exr"))) == [-10, 0, 10]


def test_numbers_that_outgrow_their_zeros(tmp_path: Path) -> None:
    for number in range(98, 103):
        write(tmp_path / f"a.{number:02d}.exr", np.zeros((4, 6, 3), np.float32), "half")
    assert list(states(str(tmp_path / "a.##.exr"))) == [98, 99, 100, 101, 102]


def test_a_damaged_frame_is_one_frame_and_a_damaged_first_one_is_not_the_plate(folder: Path) -> None:
    (folder / "plate.1001.exr").write_bytes(b"junk")
    source = Sequence(str(folder / "plate.####.exr"))
    assert (source.plate.width, source.plate.height) == (6, 4)
    assert states(str(folder / "plate.####.exr")) == {**ALL, 1001: "unreadable"}


def test_a_change_of_size_ends_it(folder: Path) -> None:
    write(folder / "plate.1003.exr", np.zeros((5, 6, 3), np.float32), "half")
    with pytest.raises(ShotError, match="6 x 5") as caught:
        states(str(folder / "plate.####.exr"))
    assert caught.value.code == "size_varies"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.####.exr", "none of its frames is on the disk"),
        ("no/such/folder.####.exr", "No such file"),
        ("plate.2000-2010#.exr", "none of its frames 2000-2010 is on the disk"),
        ("a.####.####.exr", r"a\.####\.####\.exr"),
    ],
)
def test_what_is_not_there(name: str, message: str, folder: Path) -> None:
    with pytest.raises(ShotError, match=message) as caught:
        Sequence(str(folder / name))
    assert caught.value.code == "no_such_shot"


def test_a_folder_of_several_sequences_asks_for_one(folder: Path) -> None:
    write(folder / "matte.1001.exr", np.zeros((4, 6, 3), np.float32), "half")
    with pytest.raises(ShotError, match=r"matte\.####\.exr") as caught:
        Sequence(str(folder))
    assert caught.value.code == "several_sequences"


def test_ranges() -> None:
    assert frame_set("1001-1003,1010") == (1001, 1002, 1003, 1010)
    assert frame_set("10-1x3") == (1, 4, 7, 10)
    assert frame_set("-5--3") == (-5, -4, -3)
    assert range_text([1001, 1002, 1004]) == "1001-1002,1004"
    assert range_text([]) == ""
    for wrong in ("", "a-b", "1-2-3", "1-99999999", "1.5-3", "٤-6"):
        with pytest.raises(ShotError) as caught:
            frame_set(wrong)
        assert caught.value.code == "wrong_range"


def test_what_a_name_stands_for(folder: Path) -> None:
    assert is_pattern("a/plate.%04d.exr")
    assert not is_pattern("a%04d/plate.mov")
    assert open_shot(str(folder), Reading(frames="1001-1002")).numbers == (1001, 1002)
    with pytest.raises(ShotError) as caught:
        open_shot(str(folder), Reading(first_frame=5))
    assert caught.value.code == "wrong_option"
    with pytest.raises(ShotError, match="cannot be opened as a video"):
        open_shot(str(folder / "other.1001.txt"), Reading())


def test_the_pixel_aspect_may_be_stated(folder: Path) -> None:
    assert open_shot(str(folder), Reading(pixel_aspect=2.0)).plate.pixel_aspect == 2.0
