"""Which photographs a command line means, and the name each goes by in the output."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def expand(given: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as all photographs in and below them, globs as what they match; each file once.

    A name that is nothing of the three stays: whoever reads it says that it is not there.
    """
    return list(dict.fromkeys(photo for each in given for photo in _expanded(each)))


def _expanded(given: Path) -> Iterator[Path]:
    if given.is_dir():
        yield from sorted(p for p in given.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    elif given.exists():  # even one whose name has a bracket
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
    taken: dict[str, int] = {}
    paths = {}
    for photo in photos:
        taken[photo.stem] = taken.get(photo.stem, 0) + 1
        number = f"-{taken[photo.stem]}" if taken[photo.stem] > 1 else ""
        paths[photo] = overlay.with_name(f"{overlay.stem}-{photo.stem}{number}{overlay.suffix}")
    return paths
