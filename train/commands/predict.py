"""`landmarks-train predict`: what networks find on the faces of a data set, as a teacher's labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from train.commands.arguments import add_data
from train.datasets.source import DataSource
from train.errors import DataError
from train.evaluation.regressor import Regressor, find_all

DETAILS: Final = (
    "The networks give coordinates, as PFLD's published ONNX files do. Their answers for two crops about the tight box "
    "of each face's annotated points, and for the mirror images, are averaged. `fit-conversion` and `convert-points` "
    "take the file as --teacher."
)
EXAMPLE: Final = "--regressor pfld_98.onnx --data faces300w:data/faces300w --out teacher98.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The networks, the data and the file to write."""
    add_data(parser)
    parser.add_argument("--regressor", required=True, nargs="+", type=Path, metavar="FILE", help="networks, averaged")
    parser.add_argument("--split", help="a split by the set's own name, instead of the one for training")
    parser.add_argument("--out", required=True, type=Path, help="the file to write, a line for each image")


def run(
    *,
    data: str,
    regressor: list[Path],
    split: str | None,
    out: Path,
) -> None:
    """Writes the points and their spread, with a progress bar."""
    source = DataSource.parse(data)
    networks = [Regressor(path, source.layout) for path in regressor]
    faces = source.faces(split) if split else source.train_faces()
    rows: dict[str, list[dict[str, Any]]] = {}
    for face, found in zip(faces, tqdm(find_all(networks, faces), total=len(faces), unit="face"), strict=True):
        item = {"points98": found.points.round(2).tolist(), "spread": round(found.spread, 4)}
        rows.setdefault(face.image.name, []).append(item)
    try:
        with out.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"image": name, "faces": items}) + "\n" for name, items in rows.items())
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    print(f"wrote what was found on {len(faces)} faces into {out}")
