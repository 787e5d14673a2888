"""`landmarks export-tracks`: which files it writes, and what it says about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.__main__ import main
from shots.tracks import write_tracks
from tests.shots.made import made_face, made_shot


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    path = tmp_path / "shot.tracks.json"
    path.write_bytes(write_tracks(made_shot(made_face(1), made_face(3), rate=None)))
    return path


def test_a_file_or_a_folder_of_files(tracks: Path, tmp_path: Path) -> None:
    assert (
        main(["export-tracks", str(tracks), "--format", "3de", "--points", "chin", "-o", str(tmp_path / "a.txt")]) == 0
    )
    assert (tmp_path / "a.txt").read_text().splitlines()[:2] == ["2", "face01_chin"]
    folder = tmp_path / "new" / "folder"
    flags = ["--points", "chin,pupils", "--faces", "3", "--kind", "raw"]
    assert main(["export-tracks", str(tracks), "--format", "nuke-ascii", *flags, "-o", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "face03_chin.txt",
        "face03_left_pupil.txt",
        "face03_right_pupil.txt",
    ]
    assert (folder / "face03_chin.txt").read_text().startswith("1001,101.250000,878.250000\n")


def test_files_are_replaced_only_on_request(tracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shot.nk"
    out.write_text("mine")
    assert main(["export-tracks", str(tracks), "--format", "nuke", "-o", str(out)]) == 1
    assert out.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export-tracks", str(tracks), "--format", "nuke", "-o", str(out), "--overwrite"]) == 0
    assert "Tracker4" in out.read_text()


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--format", "after-effects"], 2, "--rate 24 (rate_unknown)"),
        (["--format", "nuke", "--points", "ears"], 2, "the groups are jaw, "),
        (["--format", "nuke", "--faces", "2"], 2, "its faces: 1, 3"),
    ],
)
def test_what_does_not_fit_the_tracks(
    flags: list[str], status: int, message: str, tracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-tracks", str(tracks), *flags, "-o", str(tmp_path / "x")]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_rate_of_its_own(tracks: Path, tmp_path: Path) -> None:
    flags = ["--format", "after-effects", "--rate", "24000/1001", "--points", "chin", "--faces", "1"]
    assert main(["export-tracks", str(tracks), *flags, "-o", str(tmp_path / "ae.txt")]) == 0
    assert "\tUnits Per Second\t23.976\n" in (tmp_path / "ae.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "maya", "-o", "x"], "--format: must be one of nuke, "),
        (["--format", "nuke"], "--out: is required"),
        (["--format", "nuke", "-o", "x", "--rate", "24/0"], "--rate: must be a number above 0 such as 24"),
        (["--format", "nuke", "-o", "x", "--rate", "٢٤"], "--rate: must be a number above 0 such as 24"),
        (["--format", "nuke", "-o", "x", "--faces", "one"], "--faces: must be numbers of faces such as 1,3"),
        (["--format", "nuke", "-o", "x", "--faces", "٤"], "--faces: must be numbers of faces such as 1,3"),
    ],
)
def test_a_wrong_command_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export-tracks", "shot.tracks.json", *flags])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-tracks", str(tmp_path / "none.json"), "--format", "nuke", "-o", "x"]) == 1
    assert "none.json: No such file" in capsys.readouterr().err
    (tmp_path / "a.json").write_text("{}")
    assert main(["export-tracks", str(tmp_path / "a.json"), "--format", "nuke", "-o", "x"]) == 1
    assert "(not_tracks)" in capsys.readouterr().err
