"""`landmarks-train gather-pictures`: pictures without people, to train a detector and to test it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.detection.pictures import gather

DETAILS: Final = (
    "Every other picture is of the split val, the rest of train. The set has the format faces300w, and no box. Look "
    "through it and exclude what shows a face: a detector learns that there is none."
)
EXAMPLE: Final = "--folders /usr/share/backgrounds /usr/share/wallpapers --exclude '*portrait*' --out data/pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where pictures are, which of them are taken, and the data set's folder."""
    parser.add_argument("--folders", required=True, nargs="+", type=Path, help="searched with the folders in them")
    about = "patterns of paths that are left out, as a shell has them (* also stands for /)"
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN", help=about)
    parser.add_argument("--per-folder", type=int, default=12, help="most pictures of one folder [%(default)s]")
    parser.add_argument("--min-side", type=int, default=160, help="least height and width in pixels [%(default)s]")
    parser.add_argument("--max-side", type=int, default=1024, help="larger ones are reduced to this [%(default)s]")
    parser.add_argument("--out", required=True, type=Path, help="the data set's folder")


def run(
    *,
    folders: list[Path],
    exclude: list[str],
    per_folder: int,
    min_side: int,
    max_side: int,
    out: Path,
) -> None:
    """Writes the set and prints how many pictures it has."""
    print(f"{gather(folders, exclude, per_folder, min_side, max_side, out)} pictures in {out}")
