"""`landmarks track` and `merge` from the command line to the file, with the engine in this process."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from landmarks.golden import golden_crop
from service.__main__ import main
from service.engines.port import EngineFailure
from shots.tracks import ShotTracks, read_tracks
from tests.conftest import ROOT
from tests.contract.apis import in_a_thread
from tests.fakes import FakeDetector, FakeEngine
from tests.process_log import log_kept

pytest.importorskip("fileseq", reason="the extra `vfx` is not installed")
pytest.importorskip("av", reason="the extra `vfx` is not installed")

SHIFT = 3
"""Pixels by which the portrait moves to the right from one frame to the next."""
BOX = ((40.0, 20.0, 220.0, 240.0), 0.9)
"""Of what is found in every frame by the service over fakes."""
ENGINE = ["--engine", "local", "--detection-size", "256"]


def picture(number: int) -> np.ndarray:
    """The portrait, moved: RGB of 300 x 256 pixels."""
    canvas = np.full((256, 300, 3), 30, np.uint8)
    canvas[:, SHIFT * number : SHIFT * number + 256] = golden_crop()
    return canvas


def write_frame(folder: Path, number: int, index: int) -> None:
    cv2.imwrite(str(folder / f"plate.{number}.png"), picture(index)[..., ::-1])


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """plate.1001.png to plate.1007.png, without 1004."""
    folder = tmp_path_factory.mktemp("plates")
    for index in (0, 1, 2, 4, 5, 6):
        write_frame(folder, 1001 + index, index)
    return folder


def run(*arguments: Any) -> int:
    with log_kept():
        return main([*map(str, arguments)])


def track(plates: Path, out: Path, *flags: str) -> int:
    return run("track", plates / "plate.####.png", "-o", out, *ENGINE, *flags)


@pytest.fixture(scope="module")
def whole(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "shot.tracks.json"
    assert track(plates, out, "--rate", "24", "--allow-missing") == 0
    return out


def read(path: Path) -> ShotTracks:
    return read_tracks(path.read_bytes())


def test_the_tracks_of_a_sequence(whole: Path) -> None:
    shot = read(whole)
    assert (shot.plate.name, shot.plate.width, shot.plate.height) == ("plate", 300, 256)
    assert shot.plate.rate == 24
    assert [(frame.number, frame.state) for frame in shot.frames] == [
        *((number, "read") for number in (1001, 1002, 1003)),
        (1004, "missing"),
        *((number, "read") for number in (1005, 1006, 1007)),
    ]
    (face,) = shot.faces
    assert (face.id, shot.gaps(face)) == (1, [(1004, 1004)])
    moved = face.smoothed[-1] - face.smoothed[0]
    assert np.median(moved, axis=0) == pytest.approx([6 * SHIFT, 0], abs=1.0)
    assert shot.model["provenance"].startswith("sha256:")
    assert shot.settings["colour"]["exposure"] == 0.0
    assert not list(whole.parent.glob("*.raw.jsonl"))


def test_a_missing_frame_is_told_and_makes_the_exit_status_1(
    plates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shot.tracks.json"
    assert track(plates, out, "--frames", "1003-1005") == 1
    assert "missing frames: 1004; --allow-missing" in capsys.readouterr().err
    assert len(read(out).faces) == 1


def test_parts_are_joined_to_the_same_bytes(plates: Path, whole: Path, tmp_path: Path) -> None:
    """In three parts, one of which begins with the missing frame."""
    parts = []
    for chunk in ("1004-1005", "1001-1003", "1006-1007"):
        parts.append(tmp_path / f"{chunk}.raw.jsonl")
        status = track(plates, parts[-1], "--rate", "24", "--chunk", chunk, "--allow-missing")
        assert status == 0
    assert run("merge", *parts, "-o", tmp_path / "joined.json", "--allow-missing") == 0
    assert (tmp_path / "joined.json").read_bytes() == whole.read_bytes()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service that runs, over fakes."""
    with in_a_thread(FakeEngine(), FakeDetector(BOX), max_bytes=10**6, max_in_flight=8) as (rest, _):
        yield rest


@pytest.fixture(scope="module")
def whole_of_service(plates: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole_of_service") / "shot.tracks.json"
    assert run("track", plates / "plate.####.png", "-o", out, "--url", url, "--allow-missing") == 0
    return out.read_bytes()


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_running_service_tracks_the_parts(
    count: int, plates: Path, url: str, whole_of_service: bytes, tmp_path: Path
) -> None:
    """However many there are, in whatever order; one was killed and is repeated."""
    parts = {
        tmp_path / f"{numbers[0]}.raw.jsonl": f"{numbers[0]}-{numbers[-1]}"
        for numbers in reversed(np.array_split(np.arange(1001, 1008), count))
    }
    next(iter(parts)).write_bytes(b'{"format":"shot.raw","version":1,"pla')
    for part, chunk in parts.items():
        flags = ("--url", url, "--chunk", chunk, "--allow-missing", "--overwrite")
        assert run("track", plates / "plate.####.png", "-o", part, *flags) == 0
    assert run("merge", *parts, "-o", tmp_path / "joined.json", "--allow-missing") == 0
    assert (tmp_path / "joined.json").read_bytes() == whole_of_service


def test_a_service_that_ends_is_told_and_what_was_done_is_kept(
    plates: Path, url: str, whole_of_service: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ending(FakeEngine):
        async def infer(self, crops: np.ndarray, **options: Any) -> Any:
            if len(self.calls) == 4:
                raise EngineFailure("it has ended")
            return await super().infer(crops, **options)

    out = tmp_path / "shot.json"
    flags = ("--allow-missing", "--concurrency", "1")
    with in_a_thread(Ending(), FakeDetector(BOX), max_bytes=10**6) as (other, _):
        assert run("track", plates / "plate.####.png", "-o", out, "--url", other, *flags) == 1
    assert "continue with --resume" in capsys.readouterr().err
    assert run("track", plates / "plate.####.png", "-o", out, "--url", url, *flags, "--resume") == 0
    assert out.read_bytes() == whole_of_service


def test_a_review_of_the_shot(plates: Path, url: str, whole_of_service: bytes, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    flags = ("--url", url, "--allow-missing", "--review", tmp_path / "review.mp4")
    assert run("track", plates / "plate.####.png", "-o", tmp_path / "shot.json", *flags) == 0
    assert (tmp_path / "shot.json").read_bytes() == whole_of_service
    with av.open(str(tmp_path / "review.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["review.mp4", "shot.json"]
    assert run("track", plates / "plate.####.png", "-o", tmp_path / "another.json", *flags) == 1  # it exists


def test_a_farm_joins_the_parts_to_the_same_bytes(
    plates: Path, url: str, whole_of_service: bytes, tmp_path: Path
) -> None:
    """In two tasks, one of which was killed before."""
    openjd = Path(sys.executable).with_name("openjd")
    if not openjd.exists():
        pytest.skip("openjd-cli is not installed")
    (tmp_path / "1001-1004.raw.jsonl.host.7").write_bytes(b'{"format":"shot.raw","version":1,"pla')
    values = {
        "Plate": plates / "plate.####.png",
        "Frames": "1001-1007",
        "ChunkSize": 4,
        "Folder": tmp_path,
        "Flags": f"--url {url}",
        "Command": shlex.join([sys.executable, "-m", "service"]),
    }
    template = ROOT / "deploy" / "farm" / "track.openjd.yaml"
    parameters = [word for name, value in values.items() for word in ("-p", f"{name}={value}")]
    command = [str(openjd), "run", str(template), "--step", "Merge", "--run-dependencies", *parameters]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert (tmp_path / "shot.tracks.json").read_bytes() == whole_of_service
    assert sorted(path.name for path in tmp_path.glob("*.raw.jsonl")) == ["1001-1004.raw.jsonl", "1005-1007.raw.jsonl"]


def test_a_part_that_is_absent_is_told(plates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "a.raw.jsonl"
    assert track(plates, part, "--chunk", "1001-1002") == 0
    assert run("merge", part, "-o", tmp_path / "joined.json") == 1
    assert "1003-1007 is absent (parts_missing)" in capsys.readouterr().err
    assert not (tmp_path / "joined.json").exists()


def test_an_interrupted_run_is_continued_to_the_same_bytes(plates: Path, whole: Path, tmp_path: Path) -> None:
    """What a run leaves that was killed while it wrote the fourth record."""
    out = tmp_path / "shot.tracks.json"
    assert track(plates, tmp_path / "all.raw.jsonl", "--rate", "24", "--chunk", "1001-1007", "--allow-missing") == 0
    lines = (tmp_path / "all.raw.jsonl").read_bytes().splitlines(keepends=True)
    raw = tmp_path / "shot.tracks.json.raw.jsonl"
    raw.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    flags = ("--rate", "24", "--allow-missing")
    assert track(plates, out, *flags) == 1  # it is not replaced without being told
    assert track(plates, out, *flags, "--resume", "--exposure", "1") == 1
    assert track(plates, out, *flags, "--resume") == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not raw.exists()


def test_a_video_and_its_export(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "shot.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", rate=24)
        stream.width, stream.height, stream.pix_fmt = 300, 256, "yuv422p10le"
        for index in range(3):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    out = tmp_path / "shot.tracks.json"
    assert run("track", path, "-o", out, "--first-frame", "1001", *ENGINE) == 0
    shot = read(out)
    assert [(frame.number, frame.time) for frame in shot.frames] == [
        (1001, 0.0),
        (1002, pytest.approx(1 / 24)),
        (1003, pytest.approx(2 / 24)),
    ]
    assert run("export-tracks", out, "--format", "nuke", "--points", "chin", "-o", tmp_path / "shot.nk") == 0
    assert "face01_chin" in (tmp_path / "shot.nk").read_text()


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["none.####.exr"], 1, "(no_such_shot)"),
        (["PLATES", "--frames", "a-b"], 2, "(wrong_range)"),
        (["PLATES", "--chunk", "1-"], 2, "(wrong_range)"),
        (["PLATES", "--first-frame", "5"], 2, "(wrong_option)"),
        (["PLATES", "--view", "ACES 1.0 - SDR Video"], 2, "--in-colorspace"),
        (["PLATES", "--in-colorspace", "LogC"], 2, "ARRI LogC3"),
        (["PLATES", "--resume", "--overwrite"], 2, "choose one"),
        (["PLATES", "--chunk", "1001-1002", "--review", "a.mp4"], 2, "a whole shot"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_computed(
    flags: list[str], status: int, message: str, plates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [str(plates) if flag == "PLATES" else flag for flag in flags]
    out = tmp_path / "shot.tracks.json"
    assert run("track", *flags, "-o", out, *ENGINE) == status
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_output_that_exists_or_has_no_folder(
    plates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text("mine")
    assert track(plates, tmp_path / "a.json") == 1
    assert "add --overwrite" in capsys.readouterr().err
    assert track(plates, tmp_path / "none" / "a.json") == 1
    assert "there is no folder" in capsys.readouterr().err
    assert (tmp_path / "a.json").read_text() == "mine"


def test_ctrl_c_keeps_what_is_done(plates: Path, tmp_path: Path) -> None:
    out = tmp_path / "shot.tracks.json"
    command = [sys.executable, "-m", "service", "track", str(plates / "plate.####.png"), "-o", str(out), *ENGINE]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    raw = tmp_path / "shot.tracks.json.raw.jsonl"
    wait_for(lambda: process.poll() is not None or (raw.exists() and raw.read_bytes().count(b"\n") > 1))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    if process.returncode == 130:  # else it had ended before the signal arrived
        assert "continue with --resume" in said
        assert json.loads(raw.read_bytes().splitlines()[0])["format"] == "shot.raw"
        assert not out.exists()
    assert process.returncode in (1, 130)
    assert "Traceback" not in said


def wait_for(condition: Any) -> None:
    """Looks again and again, with no more delay than the operating system needs."""
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("nothing happened")
