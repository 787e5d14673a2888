"""What a name on the command line stands for: a sequence or a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from shots.errors import ShotError
from shots.reading.images import Choice
from shots.reading.picture import Source
from shots.reading.sequences import IMAGE_SUFFIXES, Sequence, frame_set, is_pattern
from shots.reading.video import DEFAULT_FIRST_FRAME, Video


@dataclass(frozen=True)
class Reading:
    """How a shot is read, beside its name."""

    frames: str | None = None
    """The frames of the shot, as a range."""
    first_frame: int | None = None
    """The number of a video's first frame."""
    rate: Fraction | None = None
    """Frames per second, instead of what the file says."""
    pixel_aspect: float | None = None
    """Instead of what the files say."""
    choice: Choice = field(default_factory=Choice)


def open_shot(text: str, reading: Reading) -> Source:
    """Raises ShotError where there is no such shot, or where the options do not fit it."""
    numbers = None if reading.frames is None else frame_set(reading.frames)
    path = Path(text)
    if is_pattern(text) or path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        if reading.first_frame is not None:
            raise ShotError("wrong_option", "--first-frame is for videos: the files of a sequence have their numbers")
        return Sequence(
            text, numbers=numbers, choice=reading.choice, rate=reading.rate, pixel_aspect=reading.pixel_aspect
        )
    if reading.choice != Choice():
        raise ShotError("wrong_option", "--layer, --part and --stereo-view are for image files, not for a video")
    first = DEFAULT_FIRST_FRAME if reading.first_frame is None else reading.first_frame
    return Video(path, first_frame=first, numbers=numbers, rate=reading.rate, pixel_aspect=reading.pixel_aspect)
