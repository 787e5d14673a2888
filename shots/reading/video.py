"""A video file by PyAV. Its frames are those that the decoder gives, in the order of presentation.

They are counted from a number that the user chooses (1 by default), and have the times that the file states, whatever
the rate: files with a variable rate, with B-frames, or whose first frame is late are read alike. The image is turned as
the file says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from shots.errors import ShotError
from shots.reading.picture import Picture
from shots.tracks import Plate, ShotFrame

DEFAULT_FIRST_FRAME: Final = 1
_HD_LINES: Final = 720
"""From this height on, files that do not state their matrix have BT.709's."""


class Video:
    """The source of a video file."""

    def __init__(
        self,
        path: Path,
        *,
        first_frame: int = DEFAULT_FIRST_FRAME,
        numbers: tuple[int, ...] | None = None,
        rate: Fraction | None = None,
        pixel_aspect: float | None = None,
    ) -> None:
        """`numbers`: the frames of the shot, all by default.

        Raises ShotError of code `no_such_shot` or `unreadable`.
        """
        self._path, self._first = path, first_frame
        self._wanted = None if numbers is None else frozenset(numbers)
        with _opened(path) as container:
            stream = container.streams.video[0]
            frame = next(iter(_decoded(container, path)), None)
            if frame is None:
                raise ShotError("unreadable", f"{path} holds no picture")
            width, height = frame.width, frame.height
            aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
            if _quarter_turns(frame) % 2:
                width, height, aspect = height, width, 1 / aspect
            self._plate = Plate(
                path.stem,
                str(path),
                width,
                height,
                float(aspect) if pixel_aspect is None else pixel_aspect,
                rate or (None if stream.average_rate is None else Fraction(stream.average_rate)),
            )
            self._count = stream.frames or None

    @property
    def plate(self) -> Plate:
        return self._plate

    @property
    def numbers(self) -> None:
        return None

    @property
    def count(self) -> int | None:
        return self._count if self._wanted is None else len(self._wanted)

    def frames(self, is_wanted: Callable[[int], bool]) -> Iterator[tuple[ShotFrame, Picture | None]]:
        """Those before the first wanted frame are decoded too: to seek would be inexact."""
        last = None if self._wanted is None else max(self._wanted)
        with _opened(self._path) as container:
            for number, frame in enumerate(_decoded(container, self._path), self._first):
                if last is not None and number > last:
                    return
                if (self._wanted is None or number in self._wanted) and is_wanted(number):
                    time = None if frame.pts is None else float(frame.pts * frame.time_base)
                    yield ShotFrame(number, time), Picture(self._samples(frame))

    def _samples(self, frame: Any) -> Any:
        matrix = None
        if frame.colorspace == _UNSPECIFIED_MATRIX and frame.height >= _HD_LINES:
            matrix = "ITU709"
        rgb = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
        turned = np.ascontiguousarray(np.rot90(rgb, _quarter_turns(frame)))
        if turned.shape[:2] != (self._plate.height, self._plate.width):
            raise ShotError("size_varies", f"{self._path}: the size of its frames changes: cut it into shots first")
        return turned


_UNSPECIFIED_MATRIX: Final = 2
"""Of a stream, as ISO 23091-2 numbers the matrices."""


def _opened(path: Path) -> Any:
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ShotError("no_such_shot", f"{path} cannot be opened as a video: {error.strerror or error}") from error
    if not container.streams.video:
        container.close()
        raise ShotError("unreadable", f"{path} holds no video")
    container.streams.video[0].thread_type = "AUTO"
    return container


def _decoded(container: Any, path: Path) -> Iterator[Any]:
    try:
        yield from container.decode(video=0)
    except av.error.FFmpegError as error:
        raise ShotError("unreadable", f"{path} cannot be decoded any further: {error.strerror or error}") from error


def _quarter_turns(frame: Any) -> int:
    """Quarter turns counterclockwise after which the frame is upright."""
    return round((frame.rotation or 0) / 90) % 4
