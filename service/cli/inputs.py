"""Which image files a command line names, and the name of each in the output."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Final

from service.cli.drawings import MARK
from service.images.formats import SIGNATURE_BYTES, has_signature

SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp"),
        *(".dib", ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"),
    }
)
"""Files of other names are images too, where their first bytes are those of one."""
SYSTEM_FOLDERS: Final = frozenset(
    {"@eadir", "#recycle", "@recycle", "__macosx", "$recycle.bin", "system volume information"}
)
"""Folders of network disks and operating systems, in lower case: they hold thumbnails, metadata and deleted files."""


@dataclass(frozen=True)
class Inputs:
    """What a command line names."""

    images: list[Path]
    """To be answered, each once."""
    unread: Mapping[Path, str]
    """What the folders hold that may be or hold images and cannot be looked at, with the reason."""
    others: list[Path]
    """What the folders hold that is not taken: files that are no images, images that `--overlay` has drawn, hidden
    files, hidden and system folders."""


def expand(given: Iterable[Path]) -> Inputs:
    """Files as they are, folders as all images in and below them, globs as the files and folders they match.

    A name that is none of the three is an image: reading it fails with a message about it.
    """
    images: dict[Path, None] = {}
    unread: dict[Path, str] = {}
    others: dict[Path, None] = {}
    for each in given:
        for path in _matches(each):
            if _is_folder(path):
                images |= dict.fromkeys(sorted(_search(path, unread, others)))
            else:
                images[path] = None
    return Inputs(list(images), unread, [path for path in others if path not in images])


def _matches(given: Path) -> list[Path]:
    """The path itself, if it exists; else standard input for `-`; else what it matches as a glob; else itself."""
    try:
        if given.exists():  # even one whose name has a bracket
            return [given]
        if given == Path("-"):
            return [Path("/dev/stdin")]
    except OSError:  # the name is too long, or its folder may not be read
        return [given]
    return sorted(Path(name) for name in glob.glob(str(given), recursive=True)) or [given]  # noqa: PTH207 - Path.glob takes no absolute pattern


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _search(folder: Path, unread: dict[Path, str], others: dict[Path, None]) -> Iterable[Path]:
    """The images in a folder and below it, in no order. What else it holds is entered in the other two."""

    def note(error: OSError) -> None:
        unread[Path(error.filename)] = error.strerror or str(error)

    for root, folders, files in os.walk(folder, onerror=note):
        below = [Path(root, name) for name in folders]
        others |= dict.fromkeys(path for path in below if _is_ignored(path))
        unread |= {
            path: "a link to a folder is not followed: name it to have it searched"
            for path in below
            if path.is_symlink() and not _is_ignored(path)
        }
        folders[:] = [path.name for path in below if not _is_ignored(path)]
        for name in files:
            path = Path(root, name)
            try:
                if _is_ignored(path) or not _is_image(path):
                    others[path] = None
                else:
                    yield path
            except OSError as error:
                unread[path] = error.strerror or str(error)


def _is_ignored(path: Path) -> bool:
    """Hidden, as the `._photo.jpg` that macOS leaves beside photo.jpg, or a system's folder."""
    return path.name.startswith(".") or path.name.lower() in SYSTEM_FOLDERS


def _is_image(path: Path) -> bool:
    """By its name or its first bytes, and not drawn by `landmarks detect`.

    Raises OSError for a link that leads nowhere and a file that cannot be read.
    """
    path.stat()
    if not path.is_file():  # to open a pipe could take forever
        return False
    with path.open("rb") as file:
        head = file.read(SIGNATURE_BYTES)
    return MARK not in head and (path.suffix.lower() in SUFFIXES or has_signature(head))


def name_of(image: Path) -> str:
    """The path as text. One that is not UTF-8 becomes a URI, `file:///...%FF.jpg`: no other path is written like it."""
    try:
        return os.fsencode(image).decode()  # whatever the locale takes these bytes for
    except UnicodeDecodeError:
        return image.absolute().as_uri()


def overlay_paths(overlay: Path, images: list[Path]) -> dict[Path, Path]:
    """The file that each image is drawn into: `out.png` for one, out-<name>.png for several, no two the same."""
    if len(images) == 1:
        return {images[0]: overlay}
    names: dict[str, Path] = {}
    for image in images:
        numbered = (f"{image.stem}-{number}" for number in count(2))
        names[next(name for name in chain([image.stem], numbered) if name not in names)] = image
    return {image: overlay.with_name(f"{overlay.stem}-{name}{overlay.suffix}") for name, image in names.items()}
