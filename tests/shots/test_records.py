"""Raw tracks: their file, and how parts of a shot are joined."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest

from landmarks.layout import WFLW98
from shots.errors import ShotError
from shots.flow import Flow
from shots.records import (
    Header,
    Record,
    joined,
    read_records,
    record_line,
    rounded_face,
    rounded_flow,
)
from shots.tracks import Plate, ShotFrame

HEADER = Header(
    Plate("plate", "plate.####.exr", 1920, 1080, 2.0, Fraction(24000, 1001)), WFLW98, {"name": "m"}, {"a": 1}, "1-4"
)


def record(number: int, seed: int = 0, faces: int = 1) -> Record:
    random = np.random.default_rng(seed + number)
    found = tuple(
        rounded_face(random.random(4), random.random(), random.random((98, 2)) * 1000, random.random((98, 3)))
        for _ in range(faces)
    )
    flow = (rounded_flow(Flow(random.random((98, 2)) * 1000, random.random((98, 3)))),)
    return Record(ShotFrame(number, number / 24), found, flow)


def file_of(*records: Record, header: Header = HEADER) -> bytes:
    return header.line() + b"".join(map(record_line, records))


def test_records_are_read_as_they_were_written() -> None:
    records = [record(1), Record(ShotFrame(2, state="missing")), record(3, faces=2)]
    data = file_of(*records)
    header, read, end = read_records(io.BytesIO(data), "a")
    assert (header, end) == (HEADER, len(data))
    assert file_of(*read) == data
    np.testing.assert_array_equal(read[0].faces[0].points, records[0].faces[0].points)
    assert read[1].flow is None


@pytest.mark.parametrize("cut", [1, 20, 500])
def test_an_incomplete_last_line_is_left_out(cut: int) -> None:
    whole = file_of(record(1))
    data = whole + record_line(record(2))[:-cut]
    _, read, end = read_records(io.BytesIO(data), "a")
    assert ([each.frame.number for each in read], end) == ([1], len(whole))


@pytest.mark.parametrize("data", [b"", b"{}\n", b'{"format":"shot.tracks"}\n', file_of(record(1)) + b"junk\n"])
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ShotError, match="part1") as caught:
        read_records(io.BytesIO(data), "part1")
    assert caught.value.code == "not_raw_tracks"


def test_parts_are_joined_in_the_order_of_their_frames() -> None:
    _, records = joined([("b", HEADER, [record(3), record(4)]), ("a", HEADER, [record(1), record(2)])])
    assert [each.frame.number for each in records] == [1, 2, 3, 4]


def test_parts_that_do_not_belong_together() -> None:
    other = Header(HEADER.plate, WFLW98, {"name": "other"}, {"a": 1}, "1-4")
    with pytest.raises(ShotError, match="b and a were made with different model") as caught:
        joined([("a", HEADER, [record(1)]), ("b", other, [record(2)])])
    assert caught.value.code == "parts_differ"
    with pytest.raises(ShotError, match="b and a both hold frame 1") as caught:
        joined([("a", HEADER, [record(1)]), ("b", HEADER, [record(1)])])
    assert caught.value.code == "parts_overlap"
    with pytest.raises(ShotError) as caught:
        joined([])
    assert caught.value.code == "parts_missing"
