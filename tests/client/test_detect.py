"""`landmarks detect`: which photographs, what is written, and how a broken run is gone on with."""

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

from service.__main__ import parser
from service.cli.detect import detect
from service.cli.inputs import expand, overlay_paths
from service.cli.outputs import Csv, JsonLines, RecordsError, make_format, new_file, resumed_file
from service.deadline import Deadline
from service.security.api_keys import ApiKeys, Protection
from service.settings import Settings
from tests.conftest import ROOT
from tests.contract.apis import open_doors
from tests.e2e.test_gateway import environment
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

IMAGE = encoded(gradient_image())


@contextmanager
def doors(engine: FakeEngine, detector: FakeDetector, shield: Protection | None = None) -> Iterator[dict[str, Any]]:
    """Both doors in a thread of their own: the command has an event loop too."""
    ready, found = threading.Event(), {}

    async def serve() -> None:
        async with open_doors(make_gateway(engine, detector, max_in_flight=16), shield) as opened:
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
    """Finds two faces in every picture."""
    with doors(FakeEngine(), FakeDetector(((10, 10, 200, 200), 0.875), ((5, 5, 60, 60), 0.75))) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png, deep/b.png, deep/bad.jpg, and what is no photograph."""
    folder = tmp_path / "shots"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        (folder / name).write_bytes(IMAGE)
    (folder / "deep" / "bad.jpg").write_bytes(b"hello")
    (folder / "notes.txt").write_text("no photograph")
    return folder


def run(*arguments: object) -> int:
    return asyncio.run(detect(parser().parse_args(["detect", *map(str, arguments)]), Settings()))


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_folder_is_answered_in_order_and_a_bad_photograph_stops_nothing(
    service: dict[str, Any], folder: Path, tmp_path: Path, door: str, capsys: Any
) -> None:
    out = tmp_path / "out.jsonl"
    assert run(folder, "--url", service[door], "--out", out, "--max-faces", 1, "--omit", "covariances") == 1
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["file"] for record in records] == [str(folder / "a.png"), str(folder / "deep" / "b.png")]
    (face,) = records[0]["faces"]
    assert (face["box"], len(face["points"]), "covariances" in face) == ([10, 10, 200, 200], 98, False)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{folder / 'deep' / 'bad.jpg'}: these bytes are not an image")
    assert last == "landmarks: 1 of 3 photographs failed: 1 not_an_image"


def test_csv_has_a_row_for_each_face(service: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run(folder / "a.png", "--url", service["http"], "--out", out) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["faces"], row["face"], row["box_score"]) for row in rows] == [("2", "0", "0.875"), ("2", "1", "0.75")]
    assert (rows[0]["width"], rows[0]["height"], rows[0]["provenance"]) == ("320", "240", "sha256:00")
    assert len(rows[0]) == 7 + 8 + 98 * 6
    assert list(rows[0])[15:19] == ["x_0", "y_0", "x_1", "y_1"]
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
def test_a_torn_file_is_mended_and_gone_on_with(
    service: dict[str, Any], folder: Path, tmp_path: Path, suffix: str, capsys: Any
) -> None:
    (folder / "deep" / "bad.jpg").unlink()
    whole, torn = tmp_path / f"whole.{suffix}", tmp_path / f"torn.{suffix}"
    asked = (folder, "--url", service["http"], "--omit", "timings_ms,points,covariances")
    assert run(*asked, "--out", whole) == 0
    torn.write_bytes(whole.read_bytes()[:-30])  # in the second photograph's record
    capsys.readouterr()
    assert run(*asked, "--out", torn, "--resume") == 0
    assert capsys.readouterr().err == f"landmarks: {torn} holds 1 of 2 already\n"

    def told(path: Path) -> list[str]:
        """Without the ids of requests."""
        return [line.partition('"model"')[2] or line for line in path.read_text().splitlines()]

    assert told(torn) == told(whole)
    assert run(*asked, "--out", torn, "--resume") == 0
    assert told(torn) == told(whole)


def test_what_is_there_is_not_written_over(service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    assert run(folder, "--url", service["http"], "--out", out) == 1
    assert "is there already: add --resume" in capsys.readouterr().err
    assert run(folder, "--url", service["http"], "--out", out, "--resume") == 1
    assert "line 1 is no record" in capsys.readouterr().err
    assert out.read_text() == "precious\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--overlay", "o.png", "--omit", "points"), "do not omit"),
        (("--resume",), "name one"),
        (("--url", "ftp://host"), "is no address"),
        (("--url", "http://host", "--ca", "a.pem"), "without TLS"),
    ],
)
def test_arguments_that_make_no_sense_together_are_told(
    folder: Path, arguments: tuple[str, ...], told: str, capsys: Any
) -> None:
    assert run(folder, *arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--box", "1,2,3"), "--box: a box is four numbers: x1,y1,x2,y2"),
        (("--box", "a,b,c,d"), "--box: a box is four numbers: x1,y1,x2,y2"),
        (("--concurrency", "0"), "--concurrency: give a whole number, 1 or more"),
        (("--concurrency", "two"), "--concurrency: give a whole number, 1 or more"),
    ],
)
def test_what_an_argument_should_be_is_told(arguments: tuple[str, ...], told: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run("photo.jpg", *arguments)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_service_that_wants_a_key_ends_the_run_at_the_first_photograph(
    folder: Path, door: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDMARKS_API_KEY", "lm_wrong")
    with doors(FakeEngine(), FakeDetector(), Protection(ApiKeys({"ana": bytes(32)}))) as service:
        assert run(folder, "--url", service[door]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"set LANDMARKS_API_KEY to a key of {service[door]}")


def test_an_address_where_nobody_answers_comes_with_advice(folder: Path, unused_port: int, capsys: Any) -> None:
    assert run(folder / "a.png", "--url", f"http://127.0.0.1:{unused_port}") == 1
    assert "(no_answer); Check the address" in capsys.readouterr().err


def test_an_empty_folder_is_told(tmp_path: Path, capsys: Any) -> None:
    assert run(tmp_path) == 2
    assert "no photograph" in capsys.readouterr().err


def test_a_bar_is_drawn_for_people_alone(service: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """On a terminal; everything else that this file runs has none."""
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
    assert "photo" in drawn


def test_ctrl_c_ends_it_cleanly_and_what_is_done_is_kept(folder: Path, tmp_path: Path) -> None:
    engine, out = FakeEngine(), tmp_path / "out.jsonl"

    class Once(FakeDetector):
        """Finds a face in the second picture alone: the engine is asked once."""

        async def detect(self, image: Any, *, deadline: Deadline | None = None) -> Any:
            found = FakeDetector(((10, 10, 90, 90), 0.9)) if image.shape[1] == 300 else FakeDetector()
            return await found.detect(image, deadline=deadline)

    (folder / "deep" / "b.png").write_bytes(encoded(gradient_image(300, 240)))
    engine.gate = asyncio.Event()
    with doors(engine, Once()) as found:
        command = [sys.executable, "-m", "service", "detect", str(folder), "--url", found["http"], "--out", str(out)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
        asyncio.run_coroutine_threadsafe(engine.arrived.wait(), found["loop"]).result(60)
        while not out.read_text().endswith("\n"):  # the first photograph's answer
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        found["loop"].call_soon_threadsafe(engine.gate.set)
    assert process.returncode == 130
    assert told == "landmarks: interrupted; --resume goes on from here\n"
    assert [json.loads(line)["file"] for line in out.read_text().splitlines()] == [str(folder / "a.png")]


def test_photographs_are_files_folders_and_globs_each_once(folder: Path) -> None:
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


def test_a_picture_that_cannot_be_drawn_here_is_answered_all_the_same(
    service: dict[str, Any], folder: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDMARKS_MAX_SIDE", "300")  # less than the service's
    out = tmp_path / "out.jsonl"
    photos = (folder / "a.png", folder / "deep" / "b.png")
    assert run(*photos, "--url", service["http"], "--out", out, "--overlay", tmp_path / "o.png") == 1
    assert len(out.read_text().splitlines()) == 2
    first, _, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{photos[0]}: cannot be drawn: ")
    assert last == "landmarks: 2 of 2 photographs failed: 2 side_too_long"


FACE = {"box": [1.0, 2.0, 3.0, 4.0], "box_source": "given", "box_score": None, "score": 0.5, "inter_ocular": 2.0}
MODEL = {"name": "fake", "version": "7", "provenance": "sha256:00"}
OMIT = ("points", "scores", "covariances")


def body(faces: int) -> dict[str, Any]:
    return {"model": MODEL, "image": {"width": 8, "height": 9}, "faces": [FACE] * faces}


@pytest.mark.parametrize("name", ["plain.png", 'with "quotes", and\na line.png', "ünïcödé.png"])
def test_every_place_a_csv_can_be_torn_at_is_mended(tmp_path: Path, name: str) -> None:
    form, path = Csv(OMIT), tmp_path / "out.csv"
    parts = [form.start(), form.record("first.png", body(0)), form.record(name, body(2)), form.record("c.png", body(1))]
    whole = b"".join(parts)
    bounds = [sum(map(len, parts[: i + 1])) for i in range(4)]
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        stream, records = resumed_file(path, Csv(OMIT))
        stream.close()
        done = sum(bound <= end for bound in bounds[1:])
        assert records.held == set(["first.png", name, "c.png"][:done])
        kept = bounds[done] if done else bounds[0]  # the header is written anew where nothing is kept
        assert path.read_bytes() == whole[:kept]


def test_a_csv_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    new_file(path, Csv(OMIT))[0].close()
    with pytest.raises(RecordsError, match="other columns"):
        resumed_file(path, Csv())
    with pytest.raises(RecordsError, match="cannot be gone on with"):
        resumed_file(path, make_format("json", ()))
    with pytest.raises(RecordsError, match="cannot be written"):
        new_file(tmp_path / "no" / "folder.csv", JsonLines())
