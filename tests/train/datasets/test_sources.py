"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from landmarks.layout import WFLW98
from tests.train.datasets.test_ibug300w import write_face
from train.datasets.conversion import fit_shapes as fit
from train.datasets.face import AnnotatedFace, Format
from train.datasets.layouts import IBUG68
from train.datasets.registry import FORMATS
from train.datasets.source import DataSource, parse_mix
from train.errors import DataError


def test_data_source_splits_at_the_first_colon() -> None:
    assert DataSource.parse("wflw:/data/a:b") == DataSource("wflw", Path("/data/a:b"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("faces300w:/data/faces300w", "faces300w"),
        ("wflw:/data/WFLW/", "wflw"),
        ("faces300w:/data/my:faces", "faces300w:my:faces"),
        ("300w:.", "300w:here"),
    ],
)
def test_a_model_names_the_folder_of_its_data_where_the_format_does_not(
    text: str, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    source = DataSource.parse(text)
    assert source.label == label


@pytest.mark.parametrize("text", ["", "wflw", "/data/wflw", "imagenet:/data"])
def test_data_source_of_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="FORMAT:PATH"):
        DataSource.parse(text)


@pytest.mark.parametrize("name", ["faces300w", "wflw", "300w", "cofw", "aflw", "coco", "mpii"])
def test_every_set_says_what_is_missing(name: str, tmp_path: Path) -> None:
    for split in (FORMATS[name].train, FORMATS[name].test):
        with pytest.raises(DataError, match=str(tmp_path)):
            DataSource(name, tmp_path).faces(split)


def test_a_conversion_makes_98_points_of_68(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fit(rng.normal(size=(200, 98, 2))).save(tmp_path / "conversion.npz")
    write_face(tmp_path / "ibug", "a")
    plain = DataSource("300w", tmp_path)
    converted = DataSource.parse(f"300w:{tmp_path}", tmp_path / "conversion.npz")
    assert (plain.layout, converted.layout) == (IBUG68, WFLW98)
    (few,), (many,) = plain.faces("challenge"), converted.faces("challenge")
    assert many.points.shape == (98, 2)
    assert many.points[[0, 2, 16, 72, 95]].tolist() == few.points[[0, 1, 8, 45, 67]].tolist()
    assert many.box.tolist() == few.box.tolist()


def test_a_conversion_is_refused_where_there_are_no_68_points() -> None:
    with pytest.raises(DataError, match="wflw has 98"):
        DataSource.parse("wflw:/data", Path("conversion.npz"))


def test_a_mix_converts_the_sets_of_68_points_alone() -> None:
    mix = parse_mix(["wflw:/a", "300w:/b"], Path("conversion.npz"))
    assert mix == [DataSource("wflw", Path("/a")), DataSource("300w", Path("/b"), Path("conversion.npz"))]


def test_another_set_of_68_points_is_one_line_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    face = AnnotatedFace(Path("a.jpg"), np.zeros((68, 2)), np.array([0.0, 0, 1, 1]))
    added = Format(lambda root, split: [face], IBUG68, train="all", test="rest")
    monkeypatch.setitem(FORMATS, "menpo", added)
    assert DataSource.parse("menpo:/a").train_faces() == [face]
    mix = parse_mix(["wflw:/b", "menpo:/a"], Path("conversion.npz"))
    assert mix == [DataSource("wflw", Path("/b")), DataSource("menpo", Path("/a"), Path("conversion.npz"))]


def test_a_mix_of_different_points_is_refused() -> None:
    with pytest.raises(DataError, match=r"wflw has 98 points, 300w 68: .* --conversion"):
        parse_mix(["wflw:/a", "300w:/b"])
    with pytest.raises(DataError, match="wflw has 98"):
        parse_mix(["wflw:/a", "faces300w:/b"], Path("conversion.npz"))
