"""What `landmarks detect` writes: JSON lines, CSV or one JSON document, and how an interrupted file is gone on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import orjson

from landmarks.layout import WFLW98
from service.rest.negotiation import to_json

Body = Mapping[str, Any]
"""One answer in the words of the wire; its numbers are NumPy's."""


class RecordsError(Exception):
    """The output cannot be written or gone on with; the message says what to do."""


class Format(Protocol):
    """How records become bytes. A record is one photograph's answer."""

    def start(self) -> bytes:
        """What a new file begins with."""

    def record(self, name: str, body: Body) -> bytes:
        """One answer. Whole once its last byte is written."""

    def end(self) -> bytes:
        """What a file ends with."""

    def held(self, file: BinaryIO) -> Iterator[tuple[str, int]]:
        """Each whole record of a file: the photograph's name, and where in the file the record ends.

        Ends at the first that is torn. Raises RecordsError for a file that is not of this format.
        """


class JsonLines:
    """One line for each photograph: its name as `file`, and the answer."""

    def start(self) -> bytes:
        return b""

    def record(self, name: str, body: Body) -> bytes:
        return to_json({"file": name, **body}) + b"\n"

    def end(self) -> bytes:
        return b""

    def held(self, file: BinaryIO) -> Iterator[tuple[str, int]]:
        end = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                yield orjson.loads(line)["file"], end
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise RecordsError(f"line {number} is no record of landmarks detect: name another --out") from error


class Json:
    """One array of the records that JSON lines would have."""

    def __init__(self) -> None:
        self._separator = b""

    def start(self) -> bytes:
        return b"[\n"

    def record(self, name: str, body: Body) -> bytes:
        separator, self._separator = self._separator, b",\n"
        return separator + to_json({"file": name, **body})

    def end(self) -> bytes:
        return b"\n]\n"

    def held(self, file: BinaryIO) -> Iterator[tuple[str, int]]:  # noqa: ARG002
        raise RecordsError("a JSON document cannot be gone on with: use --format jsonl or csv with --resume")


_FACE: Final = ["box_x1", "box_y1", "box_x2", "box_y2", "box_source", "box_score", "score", "inter_ocular"]
_LARGE: Final[Mapping[str, tuple[str, ...]]] = {
    "points": ("x", "y"),
    "scores": ("score",),
    "covariances": ("xx", "xy", "yy"),
}


class Csv:
    """One row for each face: x_0, y_0, ... x_97, y_97, the points' scores and covariances. No face: a row without."""

    def __init__(self, omit: Sequence[str] = ()) -> None:
        """`omit`: which of points, scores and covariances have no columns."""
        self._large = {name: parts for name, parts in _LARGE.items() if name not in omit}
        points = [f"{part}_{i}" for parts in self._large.values() for i in range(WFLW98.points) for part in parts]
        self._header = ["file", "faces", "face", "width", "height", "model", "provenance", *_FACE, *points]

    def start(self) -> bytes:
        return _rows([self._header])

    def record(self, name: str, body: Body) -> bytes:
        faces, model, image = body["faces"], body["model"], body["image"]
        about = [image["width"], image["height"], model["name"], model["provenance"]]
        cells = [[i, *about, *self._cells(face)] for i, face in enumerate(faces)] or [["", *about]]
        return _rows([[name, len(faces), *row, *[""] * (len(self._header) - 2 - len(row))] for row in cells])

    def end(self) -> bytes:
        return b""

    def held(self, file: BinaryIO) -> Iterator[tuple[str, int]]:
        rows = _whole_rows(file)
        header, end = next(rows, (self._header, 0))
        if header != self._header:
            raise RecordsError("the file has other columns: give the options it was made with, or name another --out")
        for row, end in rows:
            if len(row) != len(header):
                raise RecordsError(f"a row has {len(row)} columns instead of {len(header)}: name another --out")
            name, faces, face = row[:3]
            if face == "" or int(face) + 1 == int(faces):
                yield name, end

    def _cells(self, face: Mapping[str, Any]) -> list[Any]:
        numbers = [_text(face[name]) for name in ("box_score", "score", "inter_ocular")]
        large = [_text(value) for name in self._large for value in np.asarray(face[name], np.float32).ravel()]
        return [*map(_text, face["box"]), face["box_source"], *numbers, *large]


def _text(value: Any) -> str:
    """A float32 with the fewest digits that read back as the same float32."""
    return "" if value is None else str(np.float32(value))


def _rows(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _whole_rows(file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Each row, and where in the file it ends; a torn last row is left out."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line.decode()

    try:
        for row in csv.reader(lines(), strict=True):
            yield row, end
    except csv.Error:  # the file ends within a quoted name
        return


FORMATS: Final = ("jsonl", "csv", "json")


def make_format(name: str, omit: Sequence[str]) -> Format:
    return Csv(omit) if name == "csv" else Json() if name == "json" else JsonLines()


class Records:
    """Where records go. Each is written whole and at once, so that what is interrupted can be gone on with."""

    def __init__(self, form: Format, out: BinaryIO, held: frozenset[str] = frozenset(), *, began: bool = False) -> None:
        self.held = held
        """Names of the photographs that the output has already."""
        self._form = form
        self._out = out
        self._write(b"" if began else form.start())

    def add(self, name: str, body: Body) -> None:
        self._write(self._form.record(name, body))

    def close(self) -> None:
        """Writes what the file ends with. The stream stays open."""
        self._write(self._form.end())

    def _write(self, data: bytes) -> None:
        try:
            self._out.write(data)
            self._out.flush()
        except OSError as error:  # a full disk, or a reader such as `head` that has seen enough
            raise RecordsError(f"the output cannot be written: {error.strerror}") from error


def new_file(path: Path, form: Format) -> tuple[BinaryIO, Records]:
    """Raises RecordsError where the file is there already, or cannot be made."""
    try:
        out = path.open("xb")
    except FileExistsError as error:
        raise RecordsError(f"{path} is there already: add --resume to go on with it, or remove it") from error
    except OSError as error:
        raise RecordsError(f"{path} cannot be written: {error.strerror}") from error
    return out, Records(form, out)


def resumed_file(path: Path, form: Format) -> tuple[BinaryIO, Records]:
    """The file as it was left, cut behind its last whole record. Raises RecordsError as `new_file` does."""
    if not path.exists():
        return new_file(path, form)
    with ExitStack() as opened:
        try:
            out = opened.enter_context(path.open("r+b"))
            records = list(form.held(out))
            end = records[-1][1] if records else 0
            out.truncate(end)
            out.seek(end)
        except (OSError, ValueError) as error:
            raise RecordsError(f"{path} cannot be gone on with: {error}") from error
        except RecordsError as error:
            raise RecordsError(f"{path}: {error}") from error
        opened.pop_all()
    return out, Records(form, out, frozenset(name for name, _ in records), began=bool(records))
