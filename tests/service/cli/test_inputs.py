"""Which image files a command line names, and the files that they are drawn into."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.inputs import expand, overlay_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png, deep/b.png, deep/bad.jpg, and a file that is not an image."""
    folder = tmp_path / "shots"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png", "deep/bad.jpg", "notes.txt"):
        (folder / name).write_bytes(b"")
    return folder


def test_images_are_files_folders_and_globs_each_once(folder: Path) -> None:
    a, b, bad = folder / "a.png", folder / "deep" / "b.png", folder / "deep" / "bad.jpg"
    assert expand([b, folder]) == [b, a, bad]
    assert expand([folder / "**" / "*.png"]) == [a, b]
    assert expand([folder / "[ab].*"]) == [a]
    bracket = folder / "[x].png"
    bracket.write_bytes(b"")
    assert expand([bracket]) == [bracket]
    missing, too_long = folder / "missing.jpg", folder / f"{'x' * 300}.jpg"
    assert expand([missing, too_long]) == [missing, too_long]


def test_no_two_overlays_have_the_same_name() -> None:
    one, two, three = Path("a/x.png"), Path("b/x.jpg"), Path("b/y.png")
    assert overlay_paths(Path("o.png"), [one]) == {one: Path("o.png")}
    assert overlay_paths(Path("d/o.png"), [one, two, three]) == {
        one: Path("d/o-x.png"),
        two: Path("d/o-x-2.png"),
        three: Path("d/o-y.png"),
    }
    numbered = Path("c/x-2.png")  # as the second x would be called
    assert list(overlay_paths(Path("o.png"), [one, two, numbered]).values()) == [
        Path("o-x.png"),
        Path("o-x-2.png"),
        Path("o-x-2-2.png"),
    ]
