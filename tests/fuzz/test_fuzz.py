"""The fuzzer itself: short runs, and that it notices what a run fails on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from landmarks_client.pb import landmarks_pb2 as pb
from service.engines.port import EngineFailure
from tests.contract.apis import in_a_thread
from tests.fakes import FakeDetector, FakeEngine
from tests.fuzz import apis, images, run
from tests.fuzz.__main__ import main
from tests.fuzz.apis import ApiFuzzer
from tests.fuzz.files import files
from tests.fuzz.images import ImageFuzzer
from tests.fuzz.options import PORTRAIT
from tests.fuzz.run import Outcome, Run
from tests.fuzz.streams import stream


@pytest.fixture
def fuzzer() -> Iterator[ImageFuzzer]:
    with closing(ImageFuzzer()) as started:
        yield started


def test_two_rounds_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "HANG_SECONDS", 120.0)  # a busy machine is no hang
    assert main(["images", "--seconds", "0", "--seed", "1", "--folder", str(tmp_path)]) == 0
    assert "MB at the end" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_every_file_is_good_before_it_is_damaged() -> None:
    assert [images.decode(data) for data in files()] == [Outcome("ok")] * len(files())


def test_a_crash_and_a_hang_are_seen_and_the_next_file_is_decoded(
    fuzzer: ImageFuzzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = files()[0]
    assert fuzzer.send(good) == Outcome("ok")  # the process has started
    os.kill(fuzzer.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(images, "HANG_SECONDS", 0.01)
        assert fuzzer.send(good).code == "hang"
    os.kill(fuzzer.pid, signal.SIGKILL)
    assert fuzzer.send(good) == Outcome("crash", "the process ended with status -9")
    assert fuzzer.send(good) == Outcome("ok")


def test_an_exception_that_is_no_service_error_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "decode_image", lambda data, limits: 1 / 0)
    outcome = images.decode(b"")
    assert outcome.code == "ZeroDivisionError"
    assert "division by zero" in outcome.problem


def test_inputs_of_failures_are_kept_with_the_command_that_repeats_them(
    fuzzer: ImageFuzzer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Run(fuzzer, tmp_path)
    for number in range(5):
        found.count(Outcome("crash", "ended"), bytes([number]), "")
    found.count(Outcome("ok"), b"good", "")
    kept = list(tmp_path.iterdir())
    assert sorted(path.read_bytes() for path in kept) == [b"\0", b"\1", b"\2"]
    printed = capsys.readouterr().out
    assert all(f"-m tests.fuzz images --repeat {path}" in printed for path in kept)
    assert not found.report()
    assert main(["images", "--repeat", str(kept[0])]) == 0  # decoded, it is no image


@pytest.mark.parametrize(("after", "passed"), [(115, True), (116, False)])
def test_memory_may_grow_by_15_percent(
    fuzzer: ImageFuzzer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, passed: bool
) -> None:
    sizes = iter((100, after))
    monkeypatch.setattr(run, "processes", lambda pid: [SimpleNamespace(resident=next(sizes))])
    monkeypatch.setattr(fuzzer, "round", lambda seed, run: None)
    found = Run(fuzzer, tmp_path)
    found.fuzz(0, seed=1)
    assert found.report() == passed


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (None, ["gRPC OK", "gRPC OK", "gRPC OK in a stream", "REST 200"]),
        (
            EngineFailure("broken"),
            ["gRPC INTERNAL internal", "gRPC internal in a batch", "gRPC internal in a stream", "REST 500"],
        ),
    ],
)
def test_faults_of_the_service_are_problems(
    error: Exception | None, codes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    engine.error = error
    message = pb.DetectRequest(image=PORTRAIT, boxes=[pb.Box(x1=40, y1=20, x2=90, y2=70)])
    batch = pb.DetectBatchRequest(requests=[message, message])
    inputs = {"a.Detect": message.SerializeToString(), "a.DetectBatch": batch.SerializeToString()}
    inputs["a.Track"] = stream(PORTRAIT)
    request = requests.Request("POST", "http://host/v1/landmarks?box=40,20,90,70", data=PORTRAIT).prepare()
    request.headers["Content-Type"] = "image/jpeg"
    inputs["a.json"] = apis.written(request)

    with in_a_thread(engine, FakeDetector(((40.0, 20.0, 90.0, 70.0), 0.9))) as (rest, rpc):
        ports = [int(address.rpartition(":")[2]) for address in (rest, rpc)]
        monkeypatch.setattr(apis, "started", lambda checkout, **settings: nullcontext((os.getpid(), *ports)))
        with closing(ApiFuzzer()) as fuzzer:
            for (name, data), code in zip(inputs.items(), codes, strict=True):
                (tmp_path / name).write_bytes(data)
                outcome = fuzzer.repeat(tmp_path / name)
                assert (outcome.code, bool(outcome.problem)) == (code, error is not None)
