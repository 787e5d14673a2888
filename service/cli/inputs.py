"""Which photographs a command line means, and the name each goes by in the output."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Final

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def expand(given: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as all photographs in and below them, globs as what they match; each file once.

    A name that is nothing of the three stays: whoever reads it says that it is not there.
    """
    return list(dict.fromkeys(photo for each in given for photo in _expanded(each)))


def _expanded(given: Path) -> Iterator[Path]:
    try:
        is_folder, is_there = given.is_dir(), given.exists()
    except OSError:  # a name that is too long, in a folder that may not be read
        is_folder, is_there = False, True
    if is_folder:
        yield from sorted(p for p in given.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    elif is_there:  # even one whose name has a bracket
        yield given
    else:
        found = sorted(Path(name) for name in glob.glob(str(given), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        yield from (path for path in found if path.is_file()) if found else iter([given])


def name_of(photo: Path) -> str:
    """The path as text, whatever bytes the file's name has."""
    return str(photo).encode("utf-8", "replace").decode()


def overlay_paths(overlay: Path, photos: list[Path]) -> dict[Path, Path]:
    """Where the drawing of each photograph goes: `out.png` of one, out-<name>.png of several, no two the same."""
    if len(photos) == 1:
        return {photos[0]: overlay}
    names: dict[str, Path] = {}
    for photo in photos:
        numbered = (f"{photo.stem}-{number}" for number in count(2))
        names[next(name for name in chain([photo.stem], numbered) if name not in names)] = photo
    return {photo: overlay.with_name(f"{overlay.stem}-{name}{overlay.suffix}") for name, photo in names.items()}
