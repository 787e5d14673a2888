"""A video to look tracks over by: the plate with points, ellipses and numbers, and the score and flicker of each face.

Points are the smoothed ones; an ellipse holds a point with 95 % probability, if its error is Gaussian. Below the image
are plots over the frames of the shot: the score of each face, and its flicker, raw (thin) and smoothed (thick).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shots.errors import ShotError
from shots.reading.colour import Colour, Shown
from shots.reading.picture import Picture, Samples
from shots.tracks import FaceTrack, Floats, ShotFrame, ShotTracks

_LONGEST: Final = 1280
"""Pixels along a side of the image at most."""
_SHORTEST: Final = 480
"""Pixels of the width at least: below it the text would not fit."""
_PLOT: Final = 110
"""Pixels of the height of a plot."""
_DEFAULT_RATE: Final = Fraction(24)
_ELLIPSE: Final = math.sqrt(-2 * math.log(0.05))
"""Half-axes of an ellipse that holds 95 %, in standard deviations."""
_COLOURS: Final = (
    (92, 200, 255), (255, 190, 70), (170, 235, 110), (255, 120, 210), (255, 95, 85), (190, 170, 255),
)  # fmt: skip
"""RGB, by the number of a face."""
_WHITE: Final = (235, 235, 235)
_GREY: Final = (110, 110, 110)
_SHIFT: Final = 6
"""OpenCV draws at 1/64 of a pixel."""


def write_review(
    path: Path, shot: ShotTracks, frames: Iterable[tuple[ShotFrame, Picture | None]], colour: Colour
) -> None:
    """Writes an MP4 file. `frames`: those of the shot, in order. Raises ShotError of code `unwritable`."""
    size = _size(shot)
    plots = _plots(shot, size[0])
    rows = _rows(shot)
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream = container.add_stream(_codec(), rate=shot.plate.rate or _DEFAULT_RATE)
            stream.width, stream.height, stream.pix_fmt = size[0], size[1] + len(plots), "yuv420p"
            for i, (frame, picture) in enumerate(frames):
                image = _image(shot, frame, picture, rows.get(frame.number, []), size, colour)
                image = np.concatenate([image, _with_cursor(plots, i, len(shot.frames))])
                for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    except (av.error.FFmpegError, OSError) as error:
        raise ShotError("unwritable", f"{path} cannot be written: {error.strerror or error}") from error


def _codec() -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _size(shot: ShotTracks) -> tuple[int, int]:
    """Width and height of the image with square pixels, both even."""
    width, height = shot.plate.width * shot.plate.pixel_aspect, float(shot.plate.height)
    scale = min(max(1.0, _SHORTEST / width), _LONGEST / max(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _rows(shot: ShotTracks) -> dict[int, list[tuple[FaceTrack, int]]]:
    """Number of a frame -> the faces in it, each with its place there."""
    rows: dict[int, list[tuple[FaceTrack, int]]] = {}
    for face in shot.faces:
        for j, number in enumerate(face.frames.tolist()):
            rows.setdefault(number, []).append((face, j))
    return rows


# ---------------------------------------------------------------- the image


def _image(
    shot: ShotTracks,
    frame: ShotFrame,
    picture: Picture | None,
    faces: Iterable[tuple[FaceTrack, int]],
    size: tuple[int, int],
    colour: Colour,
) -> Shown:
    canvas = np.zeros((size[1], size[0], 3), np.uint8) if picture is None else _reduced(picture.samples, size, colour)
    factors = np.array([size[0] / shot.plate.width, size[1] / shot.plate.height])
    for face, j in faces:
        _draw_face(canvas, face, j, factors)
    state = "" if frame.state == "read" else f"  {frame.state}"
    _write(canvas, f"{frame.number}{state}{'  cut' if frame.is_cut else ''}", (10, size[1] - 12), _WHITE, 0.7)
    return canvas


def _reduced(samples: Samples, size: tuple[int, int], colour: Colour) -> Shown:
    floats = samples.astype(np.float32) if samples.dtype == np.float16 else samples  # OpenCV has no halves
    way = cv2.INTER_AREA if size[0] <= samples.shape[1] else cv2.INTER_CUBIC
    reduced = np.asarray(cv2.resize(floats, size, interpolation=way), samples.dtype)
    return np.ascontiguousarray(colour.shown(reduced))


def _draw_face(canvas: Shown, face: FaceTrack, j: int, factors: Floats) -> None:
    shade = _COLOURS[(face.id - 1) % len(_COLOURS)]
    points = (face.smoothed[j] + 0.5) * factors - 0.5
    covariances = face.smoothed_covariances[j] * [factors[0] ** 2, factors[0] * factors[1], factors[1] ** 2]
    pale = tuple((channel + 60) // 2 for channel in shade)
    for point, (xx, xy, yy) in zip(points, covariances.tolist(), strict=True):
        _draw_ellipse(canvas, point, np.array([[xx, xy], [xy, yy]]), pale)
    for point in points:
        cv2.circle(canvas, _fixed(point), round(1.3 * 2**_SHIFT), shade, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    x, y = (face.boxes[j, :2] + 0.5) * factors - 0.5
    place = (max(4, int(np.clip(x, 0, canvas.shape[1]))), max(18, int(np.clip(y, 0, canvas.shape[0])) - 6))
    _write(canvas, f"face{face.id:02} {face.scores[j]:.2f}", place, shade)


def _draw_ellipse(canvas: Shown, centre: Floats, covariance: Floats, shade: tuple[int, ...]) -> None:
    variances, axes = np.linalg.eigh(covariance)
    half = _ELLIPSE * np.sqrt(np.clip(variances, 0, 1e6))
    angle = math.degrees(math.atan2(axes[1, 1], axes[0, 1]))
    cv2.ellipse(
        canvas, _fixed(centre), _fixed(half[::-1]), angle, 0, 360, shade, 1, cv2.LINE_AA, _SHIFT
    )  # fmt: skip


def _fixed(values: Floats) -> tuple[int, int]:
    """OpenCV's fixed-point numbers."""
    x, y = np.round(np.clip(values, -1e5, 1e5) * 2**_SHIFT).astype(int).tolist()
    return x, y


def _write(canvas: Shown, text: str, place: tuple[int, int], shade: tuple[int, int, int], size: float = 0.5) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 3, cv2.LINE_AA)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, shade, 1, cv2.LINE_AA)


# ---------------------------------------------------------------- the plots


def _plots(shot: ShotTracks, width: int) -> Shown:
    """Both plots, without the mark of a frame."""
    flicker = _flicker(shot.report)
    most = max((v for each in flicker.values() for steps in each.values() for v in steps if v is not None), default=0)
    scale = max(0.1, math.ceil(10 * most) / 10)
    scores, steps = (np.full((_PLOT, width, 3), 24, np.uint8) for _ in range(2))
    _label(scores, "score", "1", "0")
    _label(steps, "flicker, px", f"{scale:.1f}", "0")
    for face in shot.faces:
        shade = _COLOURS[(face.id - 1) % len(_COLOURS)]
        places = [shot.index(number) for number in face.frames.tolist()]
        _curve(scores, places, face.scores.tolist(), 1.0, len(shot.frames), shade, 2)
        for name, thickness in (("raw", 1), ("smoothed", 2)):
            values = flicker.get(face.id, {}).get(name, [])
            _curve(steps, places, values, scale, len(shot.frames), shade, thickness)
    return np.concatenate([scores, steps])


def _flicker(report: Mapping[str, Any]) -> dict[int, dict[str, list[float | None]]]:
    """Number of a face -> its flicker from frame to frame, as `shots.report` has it."""
    return {face["id"]: face.get("flicker_by_frame", {}) for face in report.get("faces", ())}


def _label(plot: Shown, text: str, top: str, bottom: str) -> None:
    cv2.line(plot, (0, 0), (plot.shape[1], 0), _GREY, 1)
    _write(plot, f"{text}: {bottom} to {top}", (8, 16), _WHITE, 0.42)


def _curve(
    plot: Shown,
    places: list[int],
    values: list[float | None],
    most: float,
    count: int,
    shade: tuple[int, int, int],
    thickness: int,
) -> None:
    """A line through the values of neighbouring frames; broken at gaps."""
    before: tuple[int, tuple[int, int]] | None = None
    for place, value in zip(places, values, strict=False):
        if value is None:
            before = None
            continue
        height = plot.shape[0]
        y = (height - 6) - (height - 30) * value / most
        at = _fixed(np.array([_x(place, count, plot.shape[1]), y]))
        start = at if before is None or place != before[0] + 1 else before[1]
        cv2.line(plot, start, at, shade, thickness, cv2.LINE_AA, _SHIFT)
        before = place, at


def _x(place: int, count: int, width: int) -> float:
    return 6 + (width - 12) * place / max(1, count - 1)


def _with_cursor(plots: Shown, place: int, count: int) -> NDArray[np.uint8]:
    result = plots.copy()
    x = round(_x(place, count, plots.shape[1]))
    cv2.line(result, (x, 0), (x, plots.shape[0]), _WHITE, 1)
    return result
