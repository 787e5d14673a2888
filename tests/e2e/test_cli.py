"""The command `landmarks`, as typed."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from landmarks.golden import golden_crop
from tests.conftest import ROOT
from tests.e2e.test_gateway import environment, served
from tests.fakes import encoded


def landmarks(*arguments: object, **settings: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    path.write_bytes(encoded(golden_crop()))
    return path


def test_detect_prints_json_and_draws(triton_url: str, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    ended = landmarks("detect", image, "--overlay", out, "--topk", 4, triton_url=triton_url)
    assert (ended.returncode, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    assert len(answer["faces"][0]["points"]) == 98
    assert cv2.imread(str(out)).shape[0] >= 256


@pytest.mark.parametrize("name", ["out.unknown", "no/such/folder/out.png"])
def test_an_overlay_that_cannot_be_written_is_one_line(triton_url: str, image: Path, tmp_path: Path, name: str) -> None:
    ended = landmarks("detect", image, "--overlay", tmp_path / name, "--box", "60,22,199,211", triton_url=triton_url)
    assert ended.returncode == 1
    assert len(json.loads(ended.stdout)["faces"]) == 1
    assert "cannot write" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_several_images_give_a_line_each_and_a_bad_one_does_not_stop_the_rest(
    triton_url: str, image: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"hello")
    other = tmp_path / "other.png"
    other.write_bytes(image.read_bytes())
    arguments = (image, bad, tmp_path / "missing.jpg", other, "--box", "60,22,199,211", "--overlay", tmp_path / "o.png")
    ended = landmarks("detect", *arguments, triton_url=triton_url)
    assert ended.returncode == 1
    assert [json.loads(line)["faces"][0]["box"] for line in ended.stdout.splitlines()] == [[60, 22, 199, 211]] * 2
    assert "bad.jpg: these bytes are not an image" in ended.stderr
    assert "(not_an_image)" in ended.stderr
    assert "missing.jpg" in ended.stderr
    assert (tmp_path / "o-image.png").is_file()
    assert (tmp_path / "o-other.png").is_file()


def test_a_running_gateway_is_used_by_its_url(image: Path) -> None:
    with served(engine="local") as running:
        running.read_announcement()
        ended = landmarks("detect", image, "--url", running.url, "--box", "60,22,199,211")
        assert json.loads(ended.stdout)["faces"][0]["box"] == [60, 22, 199, 211]
        refused = landmarks("detect", image, "--url", running.url, "--box", "9,9,1,1")
        assert refused.returncode == 1
        assert "inverted" in refused.stderr
        assert "(invalid_box)" in refused.stderr
    gone = landmarks("detect", image, "--url", running.url)
    assert gone.returncode == 1
    assert "no answer from http://127.0.0.1" in gone.stderr


def test_help_explains_and_mistakes_are_reported() -> None:
    text = landmarks("--help").stdout
    assert "landmarks detect photo.jpg --overlay out.png" in text
    assert "--triton-url" in landmarks("serve", "--help").stdout
    assert landmarks().returncode == 2
    assert "x1,y1,x2,y2" in landmarks("detect", "a.jpg", "--box", "1,2,3").stderr
    wrong = landmarks("serve", port="many")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("landmarks: LANDMARKS_PORT: ")


def test_the_local_engine_needs_no_triton(image: Path) -> None:
    ended = landmarks("detect", image, engine="local")
    assert ended.returncode == 0
    assert len(json.loads(ended.stdout)["faces"]) == 1
