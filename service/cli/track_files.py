"""The files that `landmarks track` and `landmarks merge` write: raw tracks line by line, which a later run continues,
and results that are there in full or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from service.cli.arguments.track import TrackOutput
from service.cli.outputs import OutputError
from shots.errors import ShotError
from shots.records import Header, read_records

RAW_SUFFIX: Final = ".raw.jsonl"
"""Of the file that a run writes while it reads the shot, beside its output."""


def raw_path(output: TrackOutput) -> Path:
    """Where records go: a part stays raw, because identities and smoothing need the whole shot."""
    return output.out if output.chunk is not None else output.out.with_name(output.out.name + RAW_SUFFIX)


def check_new(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError where a file is in the way, or its folder is missing."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists: add --overwrite to replace it, or choose another -o")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")


def open_raw(path: Path, header: Header, *, resume: bool, overwrite: bool) -> tuple[BinaryIO, int | None]:
    """The file of raw tracks, and the last frame that it holds. Raises OutputError or ShotError."""
    try:
        if resume and path.exists():
            file: BinaryIO = path.open("r+b")
            try:
                own, records, end = read_records(file, str(path))
                if own.line() != header.line():
                    raise ShotError("parts_differ", f"{path} was begun with other options, another plate or model")
                file.truncate(end)
                file.seek(end)
            except BaseException:
                file.close()
                raise
            return file, records[-1].frame.number if records else None
        file = path.open("wb" if overwrite or not path.exists() else "xb")
    except FileExistsError as error:
        advice = "--resume continues it, --overwrite starts anew"
        raise OutputError(f"{path} is that of an interrupted run: {advice}") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    append_line(file, header.line())
    return file, None


def append_line(file: BinaryIO, line: bytes) -> None:
    """Raises OutputError where it cannot be written."""
    try:
        file.write(line)
        file.flush()
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Raises OutputError where it cannot be written; then there is no file, or the one that was there."""
    with replacing(path) as new:
        new.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a file that becomes `path` once the block ends, and goes where it fails. Raises OutputError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield new
        new.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)
