"""What is found in each frame, and the file of it: JSON lines, which an interrupted run continues.

No record depends on which other frames are read (`shots.run`). So a shot may be cut into parts that are tracked on
different machines, and joined: the joined records are those of an uncut run, to the byte.

::

    {"format": "shot.raw", "version": 1, "plate": ..., "model": ..., "layout": ..., "settings": ..., "range": ...}
    {"frame": 1001, "faces": [...]}
    {"frame": 1002, "faces": [...], "flow": [...]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Final

import numpy as np

from landmarks.layout import LayoutError, PointLayout
from shots.errors import ShotError
from shots.flow import Flow
from shots.tracks import (
    Floats,
    Plate,
    ShotFrame,
    dumps,
    frame_from_json,
    frame_to_json,
    rounded_covariances,
    rounded_points,
)

FORMAT: Final = "shot.raw"
VERSION: Final = 1


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face in one frame; its numbers are rounded as files have them."""

    box: Floats
    """[4] x1, y1, x2, y2"""
    score: float
    points: Floats
    """[P, 2]"""
    covariances: Floats
    """[P, 3] xx, xy, yy"""


@dataclass(frozen=True, eq=False)
class Record:
    """What is found in one frame."""

    frame: ShotFrame
    faces: tuple[FoundFace, ...] = ()
    flow: tuple[Flow, ...] | None = None
    """Where the points of each face of the frame before are; None where that frame was not read, or after a cut."""


@dataclass(frozen=True)
class Header:
    """What all records of a shot have in common."""

    plate: Plate
    layout: PointLayout
    model: Mapping[str, str]
    settings: Mapping[str, Any]
    range: str | None
    """The frames of the whole shot, of a sequence; None of a video, whose end is not known before."""

    def line(self) -> bytes:
        """As the first line of a file."""
        plate = {**vars(self.plate), "rate": None if self.plate.rate is None else str(self.plate.rate)}
        head = {"format": FORMAT, "version": VERSION, "plate": plate, "model": dict(self.model)}
        head |= {"layout": self.layout.to_mapping(), "settings": dict(self.settings), "range": self.range}
        return dumps(head) + b"\n"


def rounded_face(box: Any, score: float, points: Any, covariances: Any) -> FoundFace:
    """A face whose numbers are those that a file will have."""
    return FoundFace(
        np.asarray(box, np.float64).round(2), round(float(score), 4), rounded_points(points),
        rounded_covariances(covariances),
    )  # fmt: skip


def rounded_flow(flow: Flow) -> Flow:
    """A flow whose numbers are those that a file will have."""
    return Flow(rounded_points(flow.points), rounded_covariances(flow.covariances))


def record_line(record: Record) -> bytes:
    """As a line of a file."""
    row = frame_to_json(record.frame)
    row["faces"] = [
        {
            "box": face.box.tolist(),
            "score": face.score,
            "points": face.points.tolist(),
            "covariances": face.covariances.tolist(),
        }
        for face in record.faces
    ]
    if record.flow is not None:
        row["flow"] = [
            {"points": flow.points.tolist(), "covariances": flow.covariances.tolist()} for flow in record.flow
        ]
    return dumps(row) + b"\n"


def _header(line: bytes) -> Header:
    body = json.loads(line)
    if body["format"] != FORMAT or body["version"] != VERSION:
        raise ValueError(f"its format is {body['format']!r}, version {body['version']}")
    rate = body["plate"]["rate"]
    plate = Plate(**{**body["plate"], "rate": None if rate is None else Fraction(rate)})
    return Header(plate, PointLayout.from_mapping(body["layout"]), body["model"], body["settings"], body["range"])


def _record(line: bytes, points: int) -> Record:
    row = json.loads(line)

    def array(values: Any, *shape: int) -> Floats:
        numbers = np.array(values, np.float64).reshape(shape)
        if not np.isfinite(numbers).all():
            raise ValueError("a number is not finite")
        return numbers

    faces = tuple(
        FoundFace(
            array(face["box"], 4),
            float(face["score"]),
            array(face["points"], points, 2),
            array(face["covariances"], points, 3),
        )
        for face in row["faces"]
    )
    flow = row.get("flow")
    flows = None if flow is None else tuple(
        Flow(array(each["points"], points, 2), array(each["covariances"], points, 3)) for each in flow
    )  # fmt: skip
    return Record(frame_from_json(row), faces, flows)


def read_records(file: BinaryIO, name: str) -> tuple[Header, list[Record], int]:
    """The header and the complete records of a file, and the offset at which the last of them ends.

    Raises ShotError of code `not_raw_tracks`.
    """
    records: list[Record] = []
    try:
        first = file.readline()
        end = len(first)
        header = _header(first)
        for line in file:
            if not line.endswith(b"\n"):  # the run was interrupted while it wrote
                break
            records.append(_record(line, header.layout.points))
            end += len(line)
    except (ValueError, KeyError, TypeError, AttributeError, LayoutError) as error:
        detail = f"line {len(records) + 2}, {type(error).__name__}: {error}"
        raise ShotError(
            "not_raw_tracks", f"{name} holds no raw tracks of `landmarks track` ({detail[:200]})"
        ) from error
    return header, records, end


def joined(parts: Iterable[tuple[str, Header, list[Record]]]) -> tuple[Header, list[Record]]:
    """The records of a whole shot, from those of its parts in any order.

    Raises ShotError of code `parts_differ`, `parts_overlap` or `parts_missing`, which names files and frames.
    """
    header: Header | None = None
    first_name = ""
    by_number: dict[int, tuple[str, Record]] = {}
    for name, own, records in parts:
        if header is None:
            header, first_name = own, name
        elif own.line() != header.line():
            what = [
                field for field in ("plate", "model", "layout", "settings", "range")
                if getattr(own, field) != getattr(header, field)
            ]  # fmt: skip
            raise ShotError("parts_differ", f"{name} and {first_name} were made with different {', '.join(what)}")
        for record in records:
            number = record.frame.number
            if number in by_number:
                raise ShotError("parts_overlap", f"{name} and {by_number[number][0]} both hold frame {number}")
            by_number[number] = (name, record)
    if header is None or not by_number:
        raise ShotError("parts_missing", "there is no frame in these files")
    return header, [by_number[number][1] for number in sorted(by_number)]
