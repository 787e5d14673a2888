"""The command on images of known heads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.pose_synthesis.known import KnownHead, error
from train.commands.command_line import parse
from train.datasets.source import DataSource
from train.errors import DataError
from train.pose_synthesis.dataset import Plan, draw_poses, interrupt_postponed
from train.pose_synthesis.model import FaceModel


@pytest.fixture(scope="module")
def known(model: FaceModel) -> list[KnownHead]:
    """The first one's image is too large, and is reduced."""
    shown = ((None, 2, 23.7), (1, 14, 10.0), (2, -14, 8.0))
    return [KnownHead.drawn(model, seed, (yaw, 0, 0), scale) for seed, yaw, scale in shown]


@pytest.fixture(scope="module")
def originals(known: list[KnownHead], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three heads, a fourth whose points are no face's, and one that is too small."""
    root = tmp_path_factory.mktemp("originals")
    (root / "images").mkdir()
    noise = np.random.default_rng(0).uniform(50, 350, (98, 2))
    shapes = [*(head.points(head.pose) for head in known), noise, noise / 30]
    with (root / "annotations.jsonl").open("w") as file:
        for i, points in enumerate(shapes):
            image = known[min(i, 2)].image()
            cv2.imwrite(str(root / "images" / f"{i}.png"), image[..., ::-1])
            low, high = points.min(axis=0), points.max(axis=0)
            box = {"xyxy": [low[0], low[1] - 0.3 * (high[1] - low[1]), *high], "score": 0.9}
            faces = [{"points98": points.tolist()}]
            file.write(json.dumps({"image": f"{i}.png", "split": "train", "faces": faces, "boxes": [box]}) + "\n")
    return root


def run_command(originals: Path, model_file: Path, out: Path, *options: object) -> None:
    arguments = ["synthesize-poses", "--data", f"faces300w:{originals}", "--split", "train", "--face-model", model_file]
    parse([str(a) for a in (*arguments, "--out", out, *options)]).execute()


@pytest.fixture(scope="module")
def synthesized(originals: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthesized") / "set"
    run_command(originals, model_file, out, "--yaw", 30, 80, "--pitch", -10, 10)
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]


def test_the_result_is_read_as_any_other_set(synthesized: Path) -> None:
    faces = DataSource.parse(f"faces300w:{synthesized}").train_faces()
    assert [face.image.name for face in faces] == [f"{i}_{i}_{k}.jpg" for i in range(3) for k in range(2)]
    for face in faces:
        image = cv2.imread(str(face.image))
        assert image is not None
        assert image.shape[0] == image.shape[1] == pytest.approx(307 if "2_2" in face.image.name else 384, abs=8)
        assert (face.box[:2] > 0).all()
        assert (face.box[2:] < len(image)).all()


def test_faces_that_fit_no_head_are_left_out(synthesized: Path) -> None:
    assert len(rows(synthesized)) == 6


def test_every_image_states_its_pose_and_what_is_visible(synthesized: Path) -> None:
    for row in rows(synthesized):
        face = row["faces"][0]
        assert row["split"] == "train"
        assert 30 <= abs(face["yaw"]) <= 80
        assert -10 <= face["pitch"] <= 10
        assert len(face["points98"]) == len(face["visible98"]) == 98
        assert 40 < sum(face["visible98"]) < 98


def test_points_are_those_of_the_known_heads(synthesized: Path, known: list[KnownHead]) -> None:
    for number, row in enumerate(rows(synthesized)):
        face, head = row["faces"][0], known[number // 2]
        truth = head.points(head.pose_at(face["yaw"], face["pitch"])) * (10 / head.pose.scale)
        found = np.array(face["points98"]) * (384 / row["width"])
        assert error(found - found.mean(axis=0), truth - truth.mean(axis=0)).mean() < (1 if number < 2 else 4)


def test_the_skin_moves_with_the_points(synthesized: Path, known: list[KnownHead]) -> None:
    """Every visible point has the color that the large original has at that point."""
    row = rows(synthesized)[0]
    face, head = row["faces"][0], known[0]
    image = cv2.imread(str(synthesized / "images" / row["image"]))
    assert image is not None
    inner = [i for i in np.flatnonzero(face["visible98"]) if i > 32]
    x, y = np.array(face["points98"])[inner].round().astype(int).T
    x0, y0 = head.points(head.pose)[inner].round().astype(int).T
    there = head.image()[y0, x0].astype(int)
    assert len(inner) > 30
    assert np.median(abs(image[y, x, ::-1] - there).max(axis=1)) < 15


def test_a_head_is_rotated_to_the_side_that_is_visible(synthesized: Path) -> None:
    sides = [np.sign(row["faces"][0]["yaw"]) for row in rows(synthesized)]
    assert sides[2:] == [1, 1, -1, -1]


def test_the_same_seed_gives_the_same_files_whatever_the_workers(
    synthesized: Path, originals: Path, model_file: Path, tmp_path: Path
) -> None:
    run_command(originals, model_file, tmp_path / "again", "--yaw", 30, 80, "--pitch", -10, 10, "--workers", 2)
    files = sorted(path.relative_to(synthesized) for path in synthesized.rglob("*.*") if path.is_file())
    assert len(files) == 8
    assert [
        path for path in files if (synthesized / path).read_bytes() != (tmp_path / "again" / path).read_bytes()
    ] == []


def test_how_the_set_was_made_is_written_down(synthesized: Path) -> None:
    record = json.loads((synthesized / "pose_synthesis.json").read_text())
    assert (record["split"], record["yaw"], record["seed"]) == ("train", [30, 80], 0)
    assert record["face_model"].startswith("sha256:")


@given(st.integers(0, 2**32 - 1).map(np.random.default_rng))
def test_poses_are_spread_over_the_range(rng: np.random.Generator) -> None:
    poses = draw_poses(Plan((30, 90), (-30, 30), 3), (20.0, -10.0, 0.0), rng)
    yaws, pitches = zip(*poses, strict=True)
    assert [int((yaw - 30) // 20) for yaw in yaws] == [0, 1, 2]
    assert all(-30 <= pitch <= 20 for pitch in pitches)  # at most 30 from the original pitch


@given(st.floats(0, 45), st.floats(45, 90), st.floats(-80, 80), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_head_seen_from_one_side_keeps_to_it(low: float, high: float, yaw: float, count: int, seed: int) -> None:
    poses = draw_poses(Plan((low, high), (0, 0), count), (yaw, 0.0, 0.0), np.random.default_rng(seed))
    assert len(poses) == count
    assert all(low <= abs(drawn) <= high for drawn, _ in poses)
    if abs(yaw) > 8:
        assert all(drawn * yaw >= 0 for drawn, _ in poses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--yaw", "80", "30"], r"--yaw takes two angles from 0 to 90 in order, not 80 30"),
        (["--yaw", "30", "120"], r"--yaw takes two angles from 0 to 90"),
        (["--pitch", "-60", "0"], r"--pitch takes two angles from -45 to 45 in order"),
        (["--per-face", "0"], r"--per-face must be at least 1, not 0"),
        (["--workers", "0"], r"--workers must be at least 1"),
        (["--face-model", "gone.npz"], r"gone\.npz: no such file"),
        (["--data", "cofw:x"], r"needs the 98 points of WFLW; cofw has 29"),
        (["--data", "faces300w:gone"], r"annotations\.jsonl: cannot be read"),
    ],
)
def test_unusable_options_are_named(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "model.npz").touch()
    with pytest.raises(DataError, match=message):
        run_command(tmp_path, tmp_path / "model.npz", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_finished_set_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "annotations.jsonl").touch()
    with pytest.raises(DataError, match="exists: choose another --out"):
        run_command(tmp_path, tmp_path, tmp_path)


def test_a_folder_that_cannot_be_made_is_named(originals: Path, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/out: cannot be written \(Not a directory\)"):
        run_command(originals, model_file, tmp_path / "file" / "out", "--limit", 1)


def test_an_image_that_is_gone_is_named(originals: Path, model_file: Path, tmp_path: Path) -> None:
    incomplete = tmp_path / "incomplete"
    incomplete.mkdir()
    (incomplete / "annotations.jsonl").write_bytes((originals / "annotations.jsonl").read_bytes())
    with pytest.raises(DataError, match=r"0\.png: cannot be read as an image"):
        run_command(incomplete, model_file, tmp_path / "out", "--limit", 1)
    assert not (tmp_path / "out" / "annotations.jsonl").exists()


def test_ctrl_c_while_the_workers_are_started_is_not_lost(
    originals: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ProcessPoolExecutor.map

    def interrupted(pool: ProcessPoolExecutor, *work: Any) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return start(pool, *work)

    monkeypatch.setattr(ProcessPoolExecutor, "map", interrupted)
    # a suite that runs in a shell's background ignores interrupts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_command(originals, model_file, tmp_path / "out", "--workers", 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "out" / "annotations.jsonl").exists()


def test_workers_notice_no_ctrl_c() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    with interrupt_postponed():
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_leaves_no_set_and_no_traceback(originals: Path, model_file: Path, tmp_path: Path) -> None:
    arguments = ["--data", f"faces300w:{originals}", "--split", "train", "--face-model", str(model_file)]
    arguments += ["--per-face", "200", "--workers", "2", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "train", "synthesize-poses", *arguments]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a suite that runs in a shell's background ignores interrupts, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        process.stderr.read(1)  # the progress bar is there: the work has begun
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "annotations.jsonl").exists()
