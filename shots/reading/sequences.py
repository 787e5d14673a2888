"""A sequence of image files: `plate.####.exr`, `plate.%04d.exr`, `plate.1001-1050#.exr`, or the folder it is in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

from fileseq import exceptions
from fileseq.constants import PAD_STYLE_HASH1
from fileseq.filesequence import FileSequence
from fileseq.frameset import FrameSet

from shots.errors import ShotError
from shots.reading.images import Choice, ImageFile, read_image_file
from shots.reading.picture import Picture
from shots.reading.windows import data_window, in_display_window
from shots.tracks import Plate, ShotFrame

IMAGE_SUFFIXES: Final = frozenset(
    {".exr", ".dpx", ".cin", ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".tga", ".bmp", ".webp", ".hdr", ".jp2", ".tx"}
)
MAX_FRAMES: Final = 1_000_000
"""Of a shot; a range with more is a mistake."""

_PRINTF: Final = re.compile(r"%(?:0([0-9]{1,2}))?d")
_HASHES: Final = re.compile(r"[#@]+")
_RANGE: Final = re.compile(r"-?\d+(?:-\d+|--\d+)?(?:[xy:]\d+)?(?:,-?\d+(?:-\d+|--\d+)?(?:[xy:]\d+)?)*$", re.ASCII)


def is_pattern(text: str) -> bool:
    """Whether a name stands for the files of a sequence."""
    name = Path(text).name
    return bool(_PRINTF.search(name) or _HASHES.search(name))


def frame_set(text: str) -> tuple[int, ...]:
    """The frames of a range such as `1001-1050`, `-5-20x5` or `1,4,9-12`, in order.

    Raises ShotError of code `wrong_range`.
    """
    try:
        frames = FrameSet(text)
        if not text.isascii() or not 0 < len(frames) <= MAX_FRAMES or any(frame != int(frame) for frame in frames):
            raise ValueError
        return tuple(sorted({int(frame) for frame in frames}))
    except (exceptions.FileSeqException, ValueError) as error:
        raise ShotError(
            "wrong_range", f"{text[:60]!r} is no range of frames: write 1001-1050, 1001-1099x2 or 1,4,9-12"
        ) from error


def range_text(numbers: tuple[int, ...] | list[int]) -> str:
    """The shortest range that has these frames."""
    return str(FrameSet(sorted(numbers))) if numbers else ""


@dataclass(frozen=True)
class _Pattern:
    folder: Path
    before: str
    after: str
    numbers: tuple[int, ...] | None
    """The frames that the name itself states."""

    def files(self) -> dict[int, Path]:
        """The files on disk, by their number. Of two with the same number the one with more zeros is taken."""
        matching = re.compile(re.escape(self.before) + r"(-?[0-9]+)" + re.escape(self.after), re.DOTALL)
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError as error:
            raise ShotError("no_such_shot", f"{self.folder}: {error.strerror}") from error
        found: dict[int, Path] = {}
        for name in names:
            if match := matching.fullmatch(name):
                found.setdefault(int(match[1]), self.folder / name)
        return found


def _parse(text: str) -> _Pattern:
    """The parts of a name with `#`, `@` or `%04d`, perhaps with a range before them."""
    path = Path(text)
    match = _PRINTF.search(path.name) or _HASHES.search(path.name)
    if match is None:
        raise ShotError("no_such_shot", f"{text} names no sequence: write its frame number as #### or %04d")
    before, after = path.name[: match.start()], path.name[match.end() :]
    if stated := _RANGE.search(before):
        numbers: tuple[int, ...] | None = frame_set(stated[0])
        before = before[: stated.start()]
    else:
        numbers = None
    if is_pattern(after):
        raise ShotError("no_such_shot", f"{text} has the place of the frame number twice")
    return _Pattern(path.parent, before, after, numbers)


def _in_folder(folder: Path) -> _Pattern:
    """The one sequence of image files in a folder. Raises ShotError where there is none, or where there are several."""
    found = [
        each
        for each in FileSequence.findSequencesOnDisk(str(folder), pad_style=PAD_STYLE_HASH1)
        if each.extension().lower() in IMAGE_SUFFIXES and each.frameSet()
    ]
    if len(found) != 1:
        names = ", ".join(f"{each.basename()}####{each.extension()}" for each in found[:5])
        raise ShotError(
            "several_sequences" if found else "no_such_shot",
            f"{folder} holds {len(found)} sequences" + (f": name one of {names}" if found else " of images"),
        )
    return _Pattern(folder, found[0].basename(), found[0].extension(), None)


class Sequence:
    """The source of a sequence. Its plate is that of its first file."""

    def __init__(
        self,
        text: str,
        *,
        numbers: tuple[int, ...] | None = None,
        choice: Choice | None = None,
        rate: Fraction | None = None,
        pixel_aspect: float | None = None,
    ) -> None:
        """`numbers`: the frames of the shot; by default those that the name states, else from the first file to the
        last. `pixel_aspect`: instead of what the files say. Raises ShotError.
        """
        path = Path(text)
        if path.is_dir():
            pattern = _in_folder(path)
            self._files = pattern.files()
        elif is_pattern(text):
            pattern = _parse(text)
            self._files = pattern.files()
        else:  # a single image
            pattern = _Pattern(path.parent, path.stem, path.suffix, None)
            trailing = re.search(r"-?[0-9]+$", path.stem)
            self._files = {int(trailing[0]) if trailing else 1: path}
        self._numbers = numbers or pattern.numbers or _from_first_to_last(self._files)
        if not any(number in self._files for number in self._numbers):
            wanted = " ".join(["none of its frames", range_text(self._numbers)]).rstrip()
            raise ShotError("no_such_shot", f"{text}: {wanted} is on the disk")
        self._name = re.sub(r"[._\- ]+$", "", pattern.before) or pattern.folder.resolve().name or "shot"
        self._text, self._choice, self._rate, self._pixel_aspect = text, choice or Choice(), rate, pixel_aspect

    @property
    def numbers(self) -> tuple[int, ...]:
        return self._numbers

    @property
    def count(self) -> int:
        return len(self._numbers)

    @cached_property
    def plate(self) -> Plate:
        """Of the first file that can be read. Raises ShotError where none can."""
        failure = ShotError("unreadable", f"{self._text}: no frame can be read")
        for number in self._numbers:
            if number in self._files:
                try:
                    image = self._image(number)
                except ShotError as error:
                    failure = error
                    continue
                aspect = image.pixel_aspect if self._pixel_aspect is None else self._pixel_aspect
                return Plate(self._name, self._text, image.width, image.height, aspect, self._rate)
        raise failure

    def frames(self, is_wanted: Callable[[int], bool]) -> Iterator[tuple[ShotFrame, Picture | None]]:
        for number in self._numbers:
            if is_wanted(number):
                yield self._frame(number)

    def _frame(self, number: int) -> tuple[ShotFrame, Picture | None]:
        # seconds are those from frame 0, so that they do not depend on which part of a shot is read
        frame = ShotFrame(number, None if self._rate is None else float(number / self._rate))
        if number not in self._files:
            return replace(frame, state="missing"), None
        try:
            image = self._image(number)
        except ShotError as error:
            if error.code == "no_such_image":
                raise
            return replace(frame, state="unreadable"), None
        plate = self.plate
        if (image.width, image.height) != (plate.width, plate.height):
            raise ShotError(
                "size_varies",
                f"{self._files[number]} has a display window of {image.width} x {image.height} pixels, the frames "
                f"before {plate.width} x {plate.height}: track the parts as shots of their own, by --frames",
            )
        h, w = image.samples.shape[:2]
        frame = replace(frame, data_window=data_window(image.left, image.top, w, h, plate.width, plate.height))
        shown = in_display_window(image.samples, image.left, image.top, plate.width, plate.height)
        if shown is None:
            return replace(frame, state="empty"), None
        return frame, Picture(shown)

    def _image(self, number: int) -> ImageFile:
        return read_image_file(self._files[number], self._choice)


def _from_first_to_last(files: dict[int, Path]) -> tuple[int, ...]:
    """All numbers between the first file and the last; each `step`-th where the files themselves are that far apart."""
    if not files:
        return ()
    numbers = sorted(files)
    steps = {b - a for a, b in pairwise(numbers)}
    step = steps.pop() if len(steps) == 1 else 1
    if (numbers[-1] - numbers[0]) // step > MAX_FRAMES:
        raise ShotError("wrong_range", f"the files are numbered from {numbers[0]} to {numbers[-1]}: choose by --frames")
    return tuple(range(numbers[0], numbers[-1] + 1, step))
