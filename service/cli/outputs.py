"""What `landmarks detect` writes: JSON lines, CSV or one JSON document; and how an interrupted file is resumed."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import orjson

from landmarks.tensors import VISIBILITY
from service.wire.json import to_json

Body = Mapping[str, Any]
"""One answer by the names of the wire; its arrays and numbers are NumPy's."""


class OutputError(Exception):
    """The output cannot be written or resumed; the message says what to do."""


class Format(Protocol):
    """How records become bytes. A record is the answer to one image."""

    opening: bytes
    """What every file of the format that can be resumed begins with."""

    def start(self) -> bytes:
        """What a new file begins with."""

    def record(self, name: str, body: Body) -> bytes:
        """One answer. It is complete once its last byte is written."""

    def end(self) -> bytes:
        """What a file ends with."""

    def completed(self, file: BinaryIO) -> Iterator[tuple[str, int]]:
        """Each complete record of a file: the image's name, and the offset in the file at which the record ends.

        Stops at the first incomplete record. Raises OutputError for a file that is not of this format.
        """


class JsonLines:
    """One line for each image: its name as `file`, and the answer."""

    opening = b'{"file":'

    def start(self) -> bytes:
        return b""

    def record(self, name: str, body: Body) -> bytes:
        return to_json({"file": name, **body}) + b"\n"

    def end(self) -> bytes:
        return b""

    def completed(self, file: BinaryIO) -> Iterator[tuple[str, int]]:
        end = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                yield orjson.loads(line)["file"], end
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise OutputError(
                    f"line {number} was not written by landmarks detect: choose another file for --out"
                ) from error


class Json:
    """One array of the records that JSON lines would have."""

    opening = b""

    def __init__(self) -> None:
        self._separator = b""

    def start(self) -> bytes:
        return b"[\n"

    def record(self, name: str, body: Body) -> bytes:
        separator, self._separator = self._separator, b",\n"
        return separator + to_json({"file": name, **body})

    def end(self) -> bytes:
        return b"\n]\n"

    def completed(self, file: BinaryIO) -> Iterator[tuple[str, int]]:  # noqa: ARG002
        raise OutputError("a JSON document cannot be resumed: use --format jsonl or csv with --resume")


_IMAGE: Final = ["file", "faces", "face", "width", "height", "model", "provenance"]
_FACE: Final = ["box_x1", "box_y1", "box_x2", "box_y2", "box_source", "box_score", "score", "inter_ocular", "passes"]
_LARGE: Final[Mapping[str, tuple[str, ...]]] = {
    "points": ("x", "y"),
    "scores": ("score",),
    "covariances": ("xx", "xy", "yy"),
    VISIBILITY: (VISIBILITY,),
}


class Csv:
    """One row for each face: x_0, y_0, x_1, ..., the points' scores, covariances and visibility. An image without a
    face has a row without these.

    The number of points is that of the model, known with the first face, and so is whether it states their visibility.
    Rows before it are kept until then.
    """

    opening = ",".join(_IMAGE).encode()

    def __init__(self, omit: Collection[str] = ()) -> None:
        """`omit`: which of points, scores, covariances and visibility have no columns."""
        self._large = {name: parts for name, parts in _LARGE.items() if name not in omit}
        self._header = [] if self._large else self._columns(0)
        self._waiting: list[list[Any]] = []

    def start(self) -> bytes:
        return _rows([self._header]) if self._header else b""

    def record(self, name: str, body: Body) -> bytes:
        faces, model, image = body["faces"], body["model"], body["image"]
        about = [image["width"], image["height"], model["name"], model["provenance"]]
        rows = [[i, *about, *self._cells(face)] for i, face in enumerate(faces)] or [["", *about]]
        self._waiting += [[name, len(faces), *row] for row in rows]
        if self._header:
            return self._written([])
        if not faces:
            return b""
        self._large = {name: parts for name, parts in self._large.items() if name in faces[0]}
        self._header = self._columns(max((len(faces[0][name]) for name in self._large), default=0))
        return self._written([self._header])

    def end(self) -> bytes:
        if self._header:
            return b""
        self._header = self._columns(0)  # no face in any image
        return self._written([self._header])

    def completed(self, file: BinaryIO) -> Iterator[tuple[str, int]]:
        rows = _complete_rows(file)
        header, end = next(rows, (self._header, 0))
        if not header:
            return
        large = {name: parts for name, parts in self._large.items() if f"{parts[0]}_0" in header}
        points = (len(header) - len(self._columns(0))) // max(1, sum(map(len, large.values())))
        if not points:
            rows = iter(kept := list(rows))
        found_faces = points or not self._large or any(row[2] != "" for row, _ in kept)
        # whether the points' visibility is stated, the model decides
        missing = self._large.keys() - large.keys() - {VISIBILITY} if found_faces else ()
        if missing or header != self._columns(points, large):
            raise OutputError("the file has other columns: give the options it was made with, or choose another --out")
        if not found_faces:  # the images before the first face are processed again
            return
        self._header, self._large = header, large
        for row, end in rows:
            if len(row) != len(header):
                raise OutputError(f"a row has {len(row)} columns instead of {len(header)}: choose another --out")
            name, faces, face = row[:3]
            if face == "" or int(face) + 1 == int(faces):
                yield name, end

    def _columns(self, points: int, large: Mapping[str, tuple[str, ...]] | None = None) -> list[str]:
        named = self._large if large is None else large
        return [*_IMAGE, *_FACE, *(f"{part}_{i}" for parts in named.values() for i in range(points) for part in parts)]

    def _written(self, rows: list[list[Any]]) -> bytes:
        rows = rows + self._waiting
        self._waiting = []
        return _rows([[*row, *[""] * (len(self._header) - len(row))] for row in rows])

    def _cells(self, face: Mapping[str, Any]) -> list[Any]:
        numbers = [_text(face[name]) for name in ("box_score", "score", "inter_ocular")]
        large = [_text(value) for name in self._large for value in np.asarray(face.get(name, ()), np.float32).ravel()]
        return [*map(_text, face["box"]), face["box_source"], *numbers, face["passes"], *large]


def _text(value: Any) -> str:
    """A float32 with the fewest digits that read back as the same float32."""
    return "" if value is None else str(np.float32(value))


def _rows(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _complete_rows(file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Each row and the offset in the file at which it ends; an incomplete last row is left out."""
    end, is_exhausted = 0, False

    def lines() -> Iterator[str]:
        nonlocal end, is_exhausted
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            yield line.decode()
        is_exhausted = True

    try:
        for row in csv.reader(lines(), strict=True):
            yield row, end
    except csv.Error as error:
        if not is_exhausted:  # else the file ends within a quoted name
            raise OutputError(
                f"the row that ends at byte {end} was not written by landmarks detect: {error}"
            ) from error


def make_format(name: str, omit: Collection[str]) -> Format:
    """`name`: "jsonl", "csv" or "json"."""
    return Csv(omit) if name == "csv" else Json() if name == "json" else JsonLines()


class Output:
    """Writes records. Each is written at once and in one piece, so that an interrupted file can be resumed."""

    def __init__(
        self, form: Format, stream: BinaryIO, completed: frozenset[str] = frozenset(), *, is_resumed: bool = False
    ) -> None:
        self.completed = completed
        """Names of the images that the output holds already."""
        self._form = form
        self._stream = stream
        self._write(b"" if is_resumed else form.start())

    def add(self, name: str, body: Body) -> None:
        self._write(self._form.record(name, body))

    def close(self) -> None:
        """Writes what the file ends with. The stream stays open."""
        self._write(self._form.end())

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except OSError as error:  # a full disk, or a reader such as `head` that has ended
            raise OutputError(f"the output cannot be written: {error.strerror}") from error


def new_file(path: Path, form: Format, *, overwrite: bool = False) -> tuple[BinaryIO, Output]:
    """Raises OutputError where the file exists and is not to be overwritten, or cannot be created."""
    try:
        keeps_nothing = path.exists() and not path.is_file()  # a pipe or a device, such as /dev/stdout
        stream: BinaryIO = path.open("wb" if overwrite or keeps_nothing else "xb")
    except FileExistsError as error:
        advice = "add --resume to continue it, or --overwrite to replace it"
        raise OutputError(f"{path} exists: {advice}") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return stream, Output(form, stream)


def resumed_file(path: Path, form: Format) -> tuple[BinaryIO, Output]:
    """The file as it was left, truncated after its last complete record. Raises OutputError as `new_file` does."""
    if not path.exists():
        return new_file(path, form)
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(path.open("r+b"))
            if not form.opening.startswith(stream.read(len(form.opening))):
                raise OutputError("the file was not written by landmarks detect, or with another --format")
            stream.seek(0)
            records = list(form.completed(stream))
            end = records[-1][1] if records else 0
            stream.truncate(end)
            stream.seek(end)
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} cannot be resumed: {error}") from error
        except OutputError as error:
            raise OutputError(f"{path}: {error}") from error
        opened.pop_all()
    return stream, Output(form, stream, frozenset(name for name, _ in records), is_resumed=bool(records))
