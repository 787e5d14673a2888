"""Data sets as the command line names them: `FORMAT:PATH`, and perhaps a conversion of their points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from landmarks.layout import WFLW98, PointLayout
from train.datasets.conversion import PointConversion, converted
from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.layouts import IBUG68
from train.datasets.registry import FORMATS
from train.errors import DataError


@dataclass(frozen=True)
class DataSource:
    """A data set's format and folder, and perhaps the file of a conversion of its 68 points to 98."""

    name: str
    """Of the format, as `train.datasets.registry` has it."""
    root: Path
    conversion: Path | None = None

    @classmethod
    def parse(cls, text: str, conversion: Path | None = None) -> DataSource:
        """`FORMAT:PATH`. Raises DataError for an unknown format, or for a conversion of other than 68 points."""
        name, separator, path = text.partition(":")
        if not separator or name not in FORMATS:
            raise DataError(f"--data takes FORMAT:PATH with FORMAT one of {', '.join(FORMATS)}, not {text!r}")
        if conversion is not None and FORMATS[name].layout is not IBUG68:
            raise DataError(f"--conversion is for sets of 68 points; {name} has {FORMATS[name].layout.points}")
        return cls(name, Path(path), conversion)

    @property
    def label(self) -> str:
        """The set's name as a model's metadata report it: the format's, and the folder's where that is another."""
        folder = self.root.resolve().name
        return self.name if folder.lower() == self.name else f"{self.name}:{folder}"

    @property
    def format(self) -> Format:
        """How the set is read."""
        return FORMATS[self.name]

    @property
    def layout(self) -> PointLayout:
        """The layout of the faces' points, after the conversion."""
        return self.format.layout if self.conversion is None else WFLW98

    def train_faces(self) -> list[AnnotatedFace]:
        """The faces to train on. Raises as `faces` does."""
        return self.faces(self.format.train)

    def test_faces(self) -> list[AnnotatedFace]:
        """The faces to report on, never trained on. Raises as `faces` does."""
        return self.faces(self.format.test)

    def faces(self, split: Split) -> list[AnnotatedFace]:
        """The faces of one of the set's splits. Raises DataError for a missing or malformed file."""
        faces = self.format.load(self.root, split)
        return faces if self.conversion is None else converted(faces, PointConversion.load(self.conversion))


def parse_mix(texts: Sequence[str], conversion: Path | None = None) -> list[DataSource]:
    """Data sets to train on together. The conversion applies to those of 68 points alone, of which there must be one.

    Raises DataError where their faces differ in layout after the conversion, and as DataSource.parse does.
    """
    convertible = [DataSource.parse(text).layout is IBUG68 for text in texts]
    sources = [
        DataSource.parse(text, conversion if is_convertible or not any(convertible) else None)
        for text, is_convertible in zip(texts, convertible, strict=True)
    ]
    for source in sources:
        if source.layout is not sources[0].layout:
            raise DataError(
                f"{sources[0].name} has {sources[0].layout.points} points, {source.name} {source.layout.points}: "
                "sets trained on together must have the same (see --conversion)"
            )
    return sources
