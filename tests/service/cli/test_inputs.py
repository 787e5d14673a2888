"""Which image files a command line names, and the files that they are drawn into."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.cli.drawings import write_image
from service.cli.inputs import SUFFIXES, expand, name_of, overlay_paths
from tests.conftest import ROOT


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
    assert expand([b, folder]).images == [b, a, bad]
    assert expand([folder / "**" / "*.png"]).images == [a, b]
    assert expand([folder / "[ab].*"]).images == [a]
    assert expand([folder / "d*"]).images == [b, bad]  # a folder, as it would be without the quotes
    bracket = folder / "[x].png"
    bracket.write_bytes(b"")
    assert expand([bracket]).images == [bracket]
    missing, too_long = folder / "missing.jpg", folder / f"{'x' * 300}.jpg"
    assert expand([missing, too_long]).images == [missing, too_long]


@pytest.mark.parametrize("name", ["a.JFIF", "a.jpe", "a.mpo", "a.dib", "a.heifs", "IMG_0001", "photo.jpg_original"])
def test_an_image_is_known_by_its_name_or_its_first_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n" if Path(name).suffix.lower() not in SUFFIXES else b"")
    assert expand([tmp_path]).images == [path]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_drawings_in_a_folder_are_no_images_unless_they_are_named(tmp_path: Path, suffix: str) -> None:
    image, drawing = tmp_path / f"a{suffix}", tmp_path / f"out-a{suffix}"
    pixels = np.full((30, 40, 3), 128, np.uint8)
    write_image(pixels, drawing, "xb")
    with Image.open(drawing) as opened:  # as other programs read it
        assert np.array_equal(np.asarray(opened), pixels)
    Image.fromarray(pixels).save(image)
    found = expand([tmp_path])
    assert (found.images, found.others) == ([image], [drawing])
    assert expand([drawing]).images == [drawing]


def test_hidden_files_and_system_folders_are_no_images_unless_they_are_named(folder: Path) -> None:
    hidden, thumbnail = folder / "._a.png", folder / "@eaDir" / "a.png"
    thumbnail.parent.mkdir()
    for path in (hidden, thumbnail):
        path.write_bytes(b"")
    found = expand([folder])
    assert hidden not in found.images
    assert thumbnail not in found.images
    assert set(found.others) == {hidden, thumbnail.parent, folder / "notes.txt"}
    found = expand([folder, hidden, thumbnail.parent])
    assert {hidden, thumbnail} < set(found.images)
    assert hidden not in found.others


def test_what_cannot_be_looked_at_is_named_with_the_reason(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.png").write_bytes(b"")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe.jpg")  # opening it would not return
    found = expand([folder])
    assert {path.name: reason for path, reason in found.unread.items()} == {
        "linked": "a link to a folder is not followed: name it to have it searched",
        "gone.png": "No such file or directory",
        "loop": "Too many levels of symbolic links",
    }
    assert folder / "pipe.jpg" in found.others
    assert expand([folder / "linked"]).images == [folder / "linked" / "c.png"]


def test_a_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised here, because the user root may read everything."""
    scandir = os.scandir

    def refused(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = expand([folder])
    assert (found.images, found.unread) == ([folder / "a.png"], {folder / "deep": "Permission denied"})


def test_names_that_are_not_utf_8_differ_in_the_output(tmp_path: Path) -> None:
    one, other = Path(os.fsdecode(b"x\xff.png")), Path(os.fsdecode(b"x\xfe.png"))
    assert (name_of(one), name_of(other)) == (f"{Path.cwd().as_uri()}/x%FF.png", f"{Path.cwd().as_uri()}/x%FE.png")
    assert name_of(Path("\u00fc\\xff.png")) == "\u00fc\\xff.png"


def test_the_name_of_an_image_does_not_depend_on_the_locale() -> None:
    program = "import sys; from pathlib import Path; from service.cli.inputs import name_of; " + (
        "sys.stdout.buffer.write(name_of(Path(sys.argv[1])).encode())"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, "žena.jpg"],
        cwd=ROOT,
        env=os.environ | ascii_only,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == "žena.jpg"


def test_a_dash_is_standard_input_unless_a_file_has_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert expand([Path("-")]).images == [Path("/dev/stdin")]
    Path("-").write_bytes(b"")
    assert expand([Path("-")]).images == [Path("-")]


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
