"""`landmarks detect` against a service: what is written, and how an interrupted run is resumed."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.cli.answering import ImageError
from service.cli.arguments.detect import Detect
from service.cli.command_line import parse
from service.cli.detect import detect
from service.cli.drawings import write_image
from service.security.api_keys import ApiKeys, Protection
from tests.conftest import ROOT
from tests.contract.apis import open_apis
from tests.e2e.test_gateway import environment
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

IMAGE = encoded(gradient_image())


@contextmanager
def running_apis(
    engine: FakeEngine, detector: FakeDetector, protection: Protection | None = None
) -> Iterator[dict[str, Any]]:
    """Both APIs in a thread of their own, because the command has an event loop too."""
    ready, found = threading.Event(), {}

    async def serve() -> None:
        async with open_apis(make_gateway(engine, detector, max_in_flight=16), protection) as opened:
            found["http"] = opened["rest"].url
            found["grpc"] = f"grpc://{opened['grpc'].address}"
            found["loop"], found["stop"] = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await found["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield found
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join()


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, Any]]:
    """Finds two faces in every image."""
    with running_apis(FakeEngine(), FakeDetector(((10, 10, 200, 200), 0.875), ((5, 5, 60, 60), 0.75))) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png, deep/b.png, deep/bad.jpg, and a file that is not an image."""
    folder = tmp_path / "shots"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        (folder / name).write_bytes(IMAGE)
    (folder / "deep" / "bad.jpg").write_bytes(b"hello")
    (folder / "notes.txt").write_text("not an image")
    return folder


def run(*arguments: object) -> int:
    command = parse(["detect", *map(str, arguments)])
    assert isinstance(command, Detect)
    return asyncio.run(detect(command))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_folder_is_answered_in_order_and_a_bad_image_stops_nothing(
    service: dict[str, Any], folder: Path, tmp_path: Path, protocol: str, capsys: Any
) -> None:
    out = tmp_path / "out.jsonl"
    assert run(folder, "--url", service[protocol], "--out", out, "--max-faces", 1, "--omit", "covariances") == 1
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["file"] for record in records] == [str(folder / "a.png"), str(folder / "deep" / "b.png")]
    (face,) = records[0]["faces"]
    assert (face["box"], len(face["points"]), "covariances" in face) == ([10, 10, 200, 200], 98, False)
    left_out, first, last = capsys.readouterr().err.splitlines()
    assert left_out == f"landmarks: left out, as hidden, no image or drawn by --overlay: {folder / 'notes.txt'}"
    assert first.startswith(f"{folder / 'deep' / 'bad.jpg'}: these bytes are not an image")
    assert last == "landmarks: 1 of 3 images failed: 1 not_an_image"


def test_csv_has_a_row_for_each_face(service: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run(folder / "a.png", "--url", service["http"], "--out", out) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["faces"], row["face"], row["box_score"]) for row in rows] == [("2", "0", "0.875"), ("2", "1", "0.75")]
    assert (rows[0]["width"], rows[0]["height"], rows[0]["provenance"]) == ("320", "240", "sha256:00")
    assert len(rows[0]) == 7 + 9 + 98 * 6
    assert list(rows[0])[15:19] == ["passes", "x_0", "y_0", "x_1"]
    assert rows[0]["passes"] == "1"
    assert float(rows[0]["xx_3"]) > float(rows[0]["xy_3"])
    # one step of the fake's points in a crop of 190 * 1.25 pixels on 256
    assert float(rows[0]["x_97"]) - float(rows[0]["x_0"]) == pytest.approx(97 * 190 * 1.25 / 256, abs=1e-2)


def test_json_is_one_document(service: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert run(folder / "a.png", folder / "deep" / "b.png", "--url", service["http"], "--out", out) == 0
    assert [record["file"] for record in json.loads(out.read_text())] == [
        str(folder / "a.png"),
        str(folder / "deep" / "b.png"),
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_an_incomplete_file_is_repaired_and_resumed(
    service: dict[str, Any], folder: Path, tmp_path: Path, suffix: str, capsys: Any
) -> None:
    (folder / "deep" / "bad.jpg").unlink()
    (folder / "notes.txt").unlink()
    whole, torn = tmp_path / f"whole.{suffix}", tmp_path / f"torn.{suffix}"
    asked = (folder, "--url", service["http"], "--omit", "timings_ms,points,covariances")
    assert run(*asked, "--out", whole) == 0
    torn.write_bytes(whole.read_bytes()[:-30])  # in the second image's record
    capsys.readouterr()
    assert run(*asked, "--out", torn, "--resume") == 0
    assert capsys.readouterr().err == f"landmarks: {torn} holds 1 of 2 images already\n"

    def without_ids(path: Path) -> list[str]:
        return [line.partition('"model"')[2] or line for line in path.read_text().splitlines()]

    assert without_ids(torn) == without_ids(whole)
    assert run(*asked, "--out", torn, "--resume") == 0
    assert without_ids(torn) == without_ids(whole)


def test_an_existing_file_is_not_overwritten(
    service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    assert run(folder, "--url", service["http"], "--out", out) == 1
    assert "exists: add --resume" in capsys.readouterr().err
    assert run(folder, "--url", service["http"], "--out", out, "--resume") == 1
    assert "was not written by landmarks detect" in capsys.readouterr().err
    assert out.read_text() == "precious\n"
    assert run(folder / "a.png", "--url", service["http"], "--out", out, "--overwrite") == 0
    assert json.loads(out.read_text())["file"] == str(folder / "a.png")


def test_no_image_and_no_other_output_is_overwritten(
    service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any
) -> None:
    source, link = folder / "a.png", tmp_path / "link.png"
    link.symlink_to(source)
    before = source.read_bytes()
    for output in (source, link, folder / "deep" / ".." / "a.png"):
        for name in ("--overlay", "--out"):
            assert run(source, "--url", service["http"], name, output, "--overwrite") == 2
            assert f"{name}: {output} would overwrite the image {source}" in capsys.readouterr().err
    assert run(source, "--url", service["http"], "--out", source, "--resume") == 2
    named_alike = folder / "o-a.png"
    named_alike.write_bytes(IMAGE)
    assert run(source, named_alike, "--url", service["http"], "--overlay", folder / "o.png", "--overwrite") == 2
    assert run(source, "--url", service["http"], "--out", tmp_path / "x.png", "--overlay", tmp_path / "x.png") == 2
    assert (source.read_bytes(), named_alike.read_bytes()) == (before, IMAGE)


def test_a_drawing_is_replaced_on_request_only(
    service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any
) -> None:
    drawing = tmp_path / "o-b.png"
    drawing.write_text("precious")
    asked = (folder / "a.png", folder / "deep" / "b.png", "--url", service["http"], "--overlay", tmp_path / "o.png")
    assert run(*asked) == 1
    assert f"{drawing} exists: add --overwrite" in capsys.readouterr().err
    assert (drawing.read_text(), (tmp_path / "o-a.png").exists()) == ("precious", False)
    assert run(*asked, "--overwrite") == 0
    assert drawing.read_bytes().startswith(b"\x89PNG")
    assert run(*asked, "--resume", "--out", tmp_path / "o.jsonl") == 0  # drawn before it was interrupted
    assert run(*asked, "--resume", "--overwrite", "--out", tmp_path / "o.jsonl") == 2


def test_names_that_are_not_utf_8_are_told_apart_and_drawn(service: dict[str, Any], tmp_path: Path) -> None:
    """In a process of its own: writing such a name by OpenCV ends in a segmentation fault."""
    for name in (b"x\xfe.png", b"x\xff.png"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(IMAGE)
    out, drawn = tmp_path / "o.jsonl", tmp_path / "drawn"
    drawn.mkdir()
    command = [sys.executable, "-m", "service", "detect", str(tmp_path), "--url", service["http"], "--out", str(out)]
    command += ["--overlay", str(drawn / "o.png")]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    names = [json.loads(line)["file"] for line in out.read_text().splitlines()]
    assert names == [f"{tmp_path.as_uri()}/x%FE.png", f"{tmp_path.as_uri()}/x%FF.png"]
    assert sorted(path.name.encode(errors="surrogateescape") for path in drawn.iterdir()) == [
        b"o-x\xfe.png",
        b"o-x\xff.png",
    ]


@pytest.mark.parametrize("name", ["o", "o.unknown", os.fsdecode(b"o.\xff"), "no/such/folder/o.png"])
def test_an_overlay_that_cannot_be_written_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="cannot write"):
        write_image(gradient_image(), tmp_path / name, "xb")


def test_no_more_of_a_file_is_read_than_the_limit_allows(service: dict[str, Any], folder: Path, capsys: Any) -> None:
    huge = folder / "huge.png"
    with huge.open("wb") as file:
        file.truncate(2**40)  # bytes, none of which are on the disk
    assert run(huge, "--url", service["http"]) == 1
    assert f"{huge}: the image file has more than {32 * 2**20} bytes" in capsys.readouterr().err


def test_a_url_is_not_read(service: dict[str, Any], capsys: Any) -> None:
    assert run("https://host/a.jpg", "--url", service["http"]) == 1
    assert "a URL is not read: curl URL | landmarks detect -" in "".join(capsys.readouterr())


def test_a_part_of_a_folder_that_is_not_searched_is_told_and_the_status_is_1(
    service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any
) -> None:
    (folder / "deep" / "bad.jpg").unlink()
    (tmp_path / "other").mkdir()
    (folder / "link").symlink_to(tmp_path / "other")
    out = tmp_path / "out.jsonl"
    assert run(folder, "--url", service["http"], "--out", out) == 1
    assert f"{folder / 'link'}: left out: a link to a folder" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--overlay", "o.png", "--omit", "points"), "do not omit"),
        (("--resume",), "name one"),
        (("--url", "ftp://host"), "is no address"),
        (("--url", "http://host", "--ca", "a.pem"), "without TLS"),
    ],
)
def test_arguments_that_make_no_sense_together_are_refused(
    folder: Path, arguments: tuple[str, ...], message: str, capsys: Any
) -> None:
    assert run(folder, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_service_that_requires_a_key_ends_the_run_at_the_first_image(
    folder: Path, protocol: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDMARKS_API_KEY", "lm_wrong")
    with running_apis(FakeEngine(), FakeDetector(), Protection(ApiKeys({"ana": bytes(32)}))) as service:
        assert run(folder, "--url", service[protocol]) == 2
    _, line = capsys.readouterr().err.splitlines()
    assert line.endswith(f"set LANDMARKS_API_KEY to a key of {service[protocol]}")


def test_an_address_where_nobody_answers_comes_with_advice(folder: Path, unused_port: int, capsys: Any) -> None:
    assert run(folder / "a.png", "--url", f"http://127.0.0.1:{unused_port}") == 1
    assert "(no_answer); Check the address" in capsys.readouterr().err


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert run(tmp_path) == 2
    assert "no image" in capsys.readouterr().err


def test_a_progress_bar_is_drawn_on_a_terminal_only(service: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """Nothing else that this file runs has a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "service", "detect", str(folder / "a.png"), "--url", service["grpc"]]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=slave, check=False)
    os.set_blocking(master, False)
    drawn = os.read(master, 10_000).decode()
    os.close(slave)
    os.close(master)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["file"] == str(folder / "a.png")
    assert "image" in drawn


def test_ctrl_c_ends_it_cleanly_and_completed_images_are_kept(folder: Path, tmp_path: Path) -> None:
    engine, out = FakeEngine(), tmp_path / "out.jsonl"

    class Once(FakeDetector):
        """Finds a face in the second image only: the engine is called once."""

        async def detect(self, image: Any, **options: Any) -> Any:
            found = FakeDetector(((10, 10, 90, 90), 0.9)) if image.shape[1] == 300 else FakeDetector()
            return await found.detect(image, **options)

    (folder / "notes.txt").unlink()
    (folder / "deep" / "b.png").write_bytes(encoded(gradient_image(300, 240)))
    engine.gate = asyncio.Event()
    with running_apis(engine, Once()) as found:
        command = [sys.executable, "-m", "service", "detect", str(folder), "--url", found["http"], "--out", str(out)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
        asyncio.run_coroutine_threadsafe(engine.arrived.wait(), found["loop"]).result(60)
        while not out.read_text().endswith("\n"):  # the first image's answer
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
        found["loop"].call_soon_threadsafe(engine.gate.set)
    assert process.returncode == 130
    assert printed == "landmarks: interrupted; continue with --resume\n"
    assert [json.loads(line)["file"] for line in out.read_text().splitlines()] == [str(folder / "a.png")]


def test_an_image_that_cannot_be_drawn_here_is_answered_all_the_same(
    service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDMARKS_MAX_SIDE", "300")  # less than the service's
    out = tmp_path / "out.jsonl"
    images = (folder / "a.png", folder / "deep" / "b.png")
    assert run(*images, "--url", service["http"], "--out", out, "--overlay", tmp_path / "o.png") == 1
    assert len(out.read_text().splitlines()) == 2
    first, _, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{images[0]}: cannot be drawn: ")
    assert last == "landmarks: 2 of 2 images failed: 2 side_too_long"
