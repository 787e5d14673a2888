"""Annotated faces from the data sets' own files: `FORMAT:PATH` names a data set and where it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from landmarks.layout import WFLW98, PointLayout
from train.datasets import aflw, coco, cofw, faces300w, ibug300w, mpii, wflw
from train.datasets.conversion import Lift
from train.datasets.face import Face, MatPhoto, Photo, Split, read_photo
from train.datasets.layouts import AFLW19, COCO17, COFW29, IBUG68, MPII16
from train.errors import DataError

__all__ = ["FORMATS", "DataSource", "Face", "Format", "MatPhoto", "Photo", "Split", "parse_mix", "read_photo"]


@dataclass(frozen=True)
class Format:
    """A data set's loader, its points, and its own names for the two splits that training uses."""

    load: Callable[[Path, Split], list[Face]]
    layout: PointLayout
    train: Split
    test: Split


FORMATS: Final[Mapping[str, Format]] = {
    "faces300w": Format(faces300w.load, WFLW98, "train", "val"),
    "wflw": Format(wflw.load, WFLW98, "train", "test"),
    "300w": Format(ibug300w.load, IBUG68, "train", "full"),
    "cofw": Format(cofw.load, COFW29, "train", "test"),
    "aflw": Format(aflw.load, AFLW19, "train", "full"),
    "coco": Format(coco.load, COCO17, "train2017", "val2017"),
    "mpii": Format(mpii.load, MPII16, "train", "valid"),
}


@dataclass(frozen=True)
class DataSource:
    """`FORMAT:PATH`, as the command line takes it, and perhaps a lift of its 68 points to 98."""

    name: str
    root: Path
    lift: Path | None = None

    @classmethod
    def parse(cls, text: str, lift: Path | None = None) -> DataSource:
        """Raises DataError for an unknown format, or for a lift where there are no 68 points to lift."""
        name, separator, path = text.partition(":")
        if not separator or name not in FORMATS:
            raise DataError(f"--data takes FORMAT:PATH with FORMAT one of {', '.join(FORMATS)}, not {text!r}")
        if lift is not None and FORMATS[name].layout is not IBUG68:
            raise DataError(f"--lift is for sets of 68 points; {name} has {FORMATS[name].layout.points}")
        return cls(name, Path(path), lift)

    @property
    def layout(self) -> PointLayout:
        """The layout of the faces' points."""
        return FORMATS[self.name].layout if self.lift is None else WFLW98

    def train_faces(self) -> list[Face]:
        """The faces to train on."""
        return self.faces(FORMATS[self.name].train)

    def test_faces(self) -> list[Face]:
        """The faces to report on, never trained on."""
        return self.faces(FORMATS[self.name].test)

    def faces(self, split: Split) -> list[Face]:
        """The faces of one of the set's splits. Raises DataError for a missing or malformed file."""
        faces = FORMATS[self.name].load(self.root, split)
        return faces if self.lift is None else lifted(faces, Lift.load(self.lift))


def parse_mix(texts: Sequence[str], lift: Path | None = None) -> list[DataSource]:
    """Data sets to train on together: their faces must have the same points, once a lift has been applied.

    Raises DataError where they differ, and as DataSource.parse does.
    """
    mixed = lift is not None and any(text.startswith("300w:") for text in texts)
    sources = [DataSource.parse(text, None if mixed and not text.startswith("300w:") else lift) for text in texts]
    for source in sources:
        if source.layout is not sources[0].layout:
            raise DataError(
                f"{sources[0].name} has {sources[0].layout.points} points, {source.name} {source.layout.points}: "
                "sets trained on together must have the same (see --lift)"
            )
    return sources


def lifted(faces: list[Face], lift: Lift) -> list[Face]:
    """Faces of 68 points as faces of 98."""
    return [replace(face, points=lift.apply(face.points)) for face in faces]
