"""Which image files a command line names, and the name of each in the output."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Final

SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)


def expand(given: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as all images in and below them, globs as the files they match; each file once.

    A name that is none of the three is kept: reading it fails with a message about it.
    """
    return list(dict.fromkeys(image for each in given for image in _expanded(each)))


def _expanded(given: Path) -> Iterator[Path]:
    try:
        is_folder, exists = given.is_dir(), given.exists()
    except OSError:  # the name is too long, or its folder may not be read
        is_folder, exists = False, True
    if is_folder:
        yield from sorted(p for p in given.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    elif exists:  # even one whose name has a bracket
        yield given
    else:
        found = sorted(Path(name) for name in glob.glob(str(given), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        yield from (path for path in found if path.is_file()) if found else iter([given])


def name_of(image: Path) -> str:
    """The path as text, whatever bytes the file's name has."""
    return str(image).encode("utf-8", "replace").decode()


def overlay_paths(overlay: Path, images: list[Path]) -> dict[Path, Path]:
    """The file that each image is drawn into: `out.png` for one, out-<name>.png for several, no two the same."""
    if len(images) == 1:
        return {images[0]: overlay}
    names: dict[str, Path] = {}
    for image in images:
        numbered = (f"{image.stem}-{number}" for number in count(2))
        names[next(name for name in chain([image.stem], numbered) if name not in names)] = image
    return {image: overlay.with_name(f"{overlay.stem}-{name}{overlay.suffix}") for name, image in names.items()}
