"""The data model of a shot's tracks, and its file `shot.tracks.json`.

Coordinates are pixels of the plate as it is stored, whatever the shape of its pixels: (0, 0) is the centre of the
top-left pixel of the display window, y points down. Covariances are of the same pixels, squared.

Frames have the numbers of the files of a sequence. Those of a video are counted from a number that the user chooses.
A frame that could not be read is listed all the same, so that the place of a frame in the shot is known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from landmarks.layout import LayoutError, PointLayout
from shots.errors import ShotError

Floats: TypeAlias = NDArray[np.float64]
Window: TypeAlias = tuple[int, int, int, int]
"""left, top, right, bottom of the pixels of a window, all included, in the coordinates of this module."""

FrameState = Literal["read", "empty", "missing", "unreadable"]
"""Read; without any picture in its display window; absent from the sequence; damaged."""

FORMAT: Final = "shot.tracks"
VERSION: Final = 1
_POINT_DIGITS: Final = 4
"""Decimals of a coordinate: a ten-thousandth of a pixel, which is what float32 can tell on wide plates."""
_COVARIANCE_DIGITS: Final = 6
"""Significant digits of a covariance."""


@dataclass(frozen=True)
class Plate:
    """The images that were tracked."""

    name: str
    """What the shot is called in exported files."""
    source: str
    """The sequence or the video, as it was given."""
    width: int
    height: int
    """Of the display window, in stored pixels."""
    pixel_aspect: float = 1.0
    """Width of a pixel over its height."""
    rate: Fraction | None = None
    """Frames per second, where it is known."""


@dataclass(frozen=True)
class ShotFrame:
    """One frame of the shot."""

    number: int
    time: float | None = None
    """Seconds from the start of the file, of a video; None in a sequence of unknown rate."""
    state: FrameState = "read"
    is_cut: bool = False
    """Whether a new take starts here: no face goes on from the frame before."""
    data_window: Window | None = None
    """Where the file has pixels, if not in the display window."""


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face through the shot: F is the number of frames in which it was found, P that of points of the layout."""

    id: int
    """From 1 on; never given to another face of the shot."""
    frames: NDArray[np.int64]
    """[F] numbers of frames, increasing. Frames of the shot between them are gaps."""
    boxes: Floats
    """[F, 4] x1, y1, x2, y2"""
    scores: Floats
    """[F] in [0, 1], of the face"""
    raw: Floats
    """[F, P, 2] points as the network gave them"""
    raw_covariances: Floats
    """[F, P, 3] xx, xy, yy"""
    smoothed: Floats
    """[F, P, 2]"""
    smoothed_covariances: Floats
    """[F, P, 3]"""


@dataclass(frozen=True, eq=False)
class ShotTracks:
    """The faces of a shot, and how they were found."""

    plate: Plate
    frames: tuple[ShotFrame, ...]
    """All frames of the shot, by increasing number, those that could not be read among them."""
    layout: PointLayout
    faces: tuple[FaceTrack, ...]
    model: Mapping[str, str] = field(default_factory=dict)
    """name, version, provenance"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the result depends on: colour, options, smoothing. JSON values."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Flicker, swim and gaps: see `shots.report`. JSON values."""

    @property
    def first(self) -> int:
        """Number of the first frame."""
        return self.frames[0].number

    @property
    def last(self) -> int:
        """Number of the last frame."""
        return self.frames[-1].number

    @cached_property
    def step(self) -> int:
        """Difference of neighbouring frame numbers, 1 but in a sequence such as 1001-1099x2."""
        return math.gcd(*(frame.number - self.first for frame in self.frames)) or 1

    def index(self, number: int) -> int:
        """The place of a frame in the shot, from 0 on, missing frames counted. Packages that count files use it."""
        return (number - self.first) // self.step

    def gaps(self, face: FaceTrack) -> list[tuple[int, int]]:
        """First and last frame of each gap of a face between its first frame and its last."""
        return [(a + self.step, b - self.step) for a, b in pairwise(face.frames.tolist()) if b - a > self.step]


# ---------------------------------------------------------------- the file


def write_tracks(shot: ShotTracks) -> bytes:
    """`shot.tracks.json`: JSON in UTF-8, a line for each frame and for each face in a frame."""
    return b"".join(_lines(shot))


def _lines(shot: ShotTracks) -> Iterator[bytes]:
    plate = {**vars(shot.plate), "rate": None if shot.plate.rate is None else str(shot.plate.rate)}
    head = {"plate": plate, "model": dict(shot.model), "layout": shot.layout.to_mapping()}
    head |= {"settings": dict(shot.settings), "report": dict(shot.report)}
    yield f'{{"format":"{FORMAT}","version":{VERSION},\n'.encode()
    for name, value in head.items():
        yield b'"%b":%b,\n' % (name.encode(), dumps(value))
    yield b'"frames":[\n' + b",\n".join(dumps(frame_to_json(frame)) for frame in shot.frames) + b"\n],\n"
    yield b'"faces":['
    for i, face in enumerate(shot.faces):
        rows = map(dumps, _rows(face))
        yield (b"," if i else b"") + b'\n{"id":%d,"frames":[\n' % face.id + b",\n".join(rows) + b"\n]}"
    yield b"\n]}\n"


def dumps(value: Any) -> bytes:
    """JSON without spaces. Raises ValueError for what is not finite."""
    data = to_json(value)
    if b"NaN" in data or b"Infinity" in data:
        json.dumps(value, allow_nan=False)  # raises, unless they are words of a text
    return data


def frame_to_json(frame: ShotFrame) -> dict[str, Any]:
    """A frame's own facts; what is as usual is left out."""
    row: dict[str, Any] = {"frame": frame.number}
    if frame.time is not None:
        row["time"] = frame.time
    if frame.state != "read":
        row["state"] = frame.state
    if frame.is_cut:
        row["cut"] = True
    if frame.data_window is not None:
        row["data_window"] = list(frame.data_window)
    return row


def frame_from_json(row: Mapping[str, Any]) -> ShotFrame:
    """Reads what `frame_to_json` gives. Raises KeyError, TypeError or ValueError for anything else."""
    window = row.get("data_window")
    state = row.get("state", "read")
    if state not in get_args(FrameState):
        raise ValueError(f"unknown state {state!r}")
    time = row.get("time")
    return ShotFrame(
        int(row["frame"]),
        None if time is None else float(time),
        state,
        bool(row.get("cut", False)),
        None if window is None else _window(window),
    )


def _window(values: Sequence[Any]) -> Window:
    left, top, right, bottom = (int(value) for value in values)
    return left, top, right, bottom


def rounded_points(points: NDArray[np.floating[Any]]) -> Floats:
    """Coordinates as files have them."""
    rounded: Floats = np.asarray(points, np.float64).round(_POINT_DIGITS)
    return rounded


def rounded_covariances(covariances: NDArray[np.floating[Any]]) -> Floats:
    """Covariances as files have them: of so many significant digits."""
    values = np.asarray(covariances, np.float64)
    sizes = np.clip(np.abs(values), 1e-12, 1e12)
    after_point = _COVARIANCE_DIGITS - 1 - np.floor(np.log10(sizes)).astype(np.int64)
    # powers of ten that are exact, so that the quotient is the number nearest to the decimal
    up, down = 10.0 ** np.maximum(after_point, 0), 10.0 ** np.maximum(-after_point, 0)
    rounded: Floats = np.rint(values * up / down) * down / up
    return rounded


def _rows(face: FaceTrack) -> Iterator[dict[str, Any]]:
    columns = {
        "frame": face.frames,
        "box": np.round(face.boxes, 2),
        "score": np.round(face.scores, 4),
        "raw": rounded_points(face.raw),
        "raw_covariances": rounded_covariances(face.raw_covariances),
        "smoothed": rounded_points(face.smoothed),
        "smoothed_covariances": rounded_covariances(face.smoothed_covariances),
    }
    for j in range(len(face.frames)):
        yield {name: column[j].tolist() for name, column in columns.items()}


def read_tracks(data: bytes) -> ShotTracks:
    """Reads what `write_tracks` gives. Raises ShotError of code `not_tracks` or `newer_tracks` for anything else."""
    try:
        body = json.loads(data)
        if body["format"] != FORMAT:
            raise ValueError(f"its format is {body['format']!r}")
        if body["version"] > VERSION:
            raise ShotError(
                "newer_tracks", f"the file has version {body['version']} of the format: this release reads {VERSION}"
            )
        layout = PointLayout.from_mapping(body["layout"])
        plate = {**body["plate"], "rate": None if body["plate"]["rate"] is None else Fraction(body["plate"]["rate"])}
        frames = tuple(frame_from_json(row) for row in body["frames"])
        if not frames or any(a.number >= b.number for a, b in pairwise(frames)):
            raise ValueError("its frames are not in order")
        faces = tuple(_face(face, layout.points, {frame.number for frame in frames}) for face in body["faces"])
        return ShotTracks(Plate(**plate), frames, layout, faces, body["model"], body["settings"], body["report"])
    except (ValueError, KeyError, TypeError, AttributeError, LayoutError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise ShotError("not_tracks", f"this is no {FORMAT}.json of `landmarks track` ({detail[:200]})") from error


def _face(body: Mapping[str, Any], points: int, known: set[int]) -> FaceTrack:
    rows = body["frames"]
    frames = np.array([row["frame"] for row in rows], np.int64)
    if not rows or (np.diff(frames) <= 0).any() or not set(frames.tolist()) <= known:
        raise ValueError(f"the frames of face {body['id']} are not those of the shot, in order")

    def values(name: str, *shape: int) -> Floats:
        array = np.array([row[name] for row in rows], np.float64).reshape(len(rows), *shape)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} of face {body['id']} has numbers that are not finite")
        return array

    return FaceTrack(
        int(body["id"]),
        frames,
        values("box", 4),
        values("score"),
        values("raw", points, 2),
        values("raw_covariances", points, 3),
        values("smoothed", points, 2),
        values("smoothed_covariances", points, 3),
    )
