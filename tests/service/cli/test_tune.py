"""`landmarks tune`: what is tried, what is chosen, what is written, and that the service starts with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from landmarks.parallelism import STREAMS_VARIABLE, THREADS_VARIABLE, Parallelism
from service.cli import tune as tuning
from service.cli.arguments.serve import Serve
from service.cli.arguments.tune import Tune, TuneArguments
from service.cli.command_line import parse
from service.cli.tune import Row, Speed, choose, content, find_best, stages, tune
from service.settings import Settings, variable
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def two_cores_and_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "cores", lambda: 2)
    for name in [name for name in os.environ if name.startswith("LANDMARKS_")]:
        monkeypatch.delenv(name)


def rates(settings: Settings) -> float:
    """Two calls, one thread for images and the 8-bit network are slow; streams make no difference worth a setting."""
    rate = 100.0 if settings.triton_calls == 3 else 80.0
    rate *= {0: 1.0, 1: 0.5, 4: 1.1}[settings.threads]
    rate *= {0: 1.0, 1: 1.02, 2: 1.0}[settings.network_streams]
    return rate * (1.5 if settings.precision == "int8" else 1.0)


async def fake(settings: Settings) -> Speed:
    return Speed(rates(settings), 0.01)


def row(rate: float, **values: int | str) -> Row:
    return Row(values, [Speed(rate, 0.01)])


async def test_the_fastest_value_of_each_setting_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    text = await find_best(Settings(), 1, fake)
    assert text.splitlines() == [
        "# Settings for a machine of 2 cores, measured by `landmarks tune`.",
        "# They answer 38 % more faces a second than the defaults.",  # 110 and 80
        "LANDMARKS_TRITON_CALLS=3",
        "LANDMARKS_THREADS=4",
        "# The 8-bit network answers 1.5 times as many, hardly less accurately:",
        "#LANDMARKS_PRECISION=int8",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["faces/s", "least", "most", "ms", "alone"]
    assert "   110.0    110.0    110.0      10.0  " in "\n".join(lines)


def test_a_difference_of_3_percent_is_chance() -> None:
    usual, better = row(100.0), row(102.9, triton_calls=3)
    assert choose([usual, better]) is usual
    assert content(usual, better).splitlines()[1:] == [
        "# The defaults are the fastest here, so that there is nothing to set."
    ]
    assert choose([usual, row(103.2, triton_calls=3)]) is not usual


@pytest.mark.parametrize(
    ("given", "tuned"),
    [
        ({}, ["network_threads", "network_streams", "triton_calls", "threads"]),
        ({"engine": "local"}, ["network_threads", "network_streams", "threads"]),
        ({"triton_url": "triton:8001"}, ["triton_calls", "threads"]),
        ({"triton_calls": 3, "threads": 0}, ["network_threads", "network_streams"]),
    ],
)
def test_what_cannot_matter_or_is_given_is_not_tuned(given: Mapping[str, object], tuned: list[str]) -> None:
    assert [stage.setting for stage in stages(Settings(**given), 2)] == tuned  # type: ignore[arg-type]


def test_the_default_is_tried_first_and_nothing_twice() -> None:
    for count in (1, 2, 3, 8, 64):
        for stage in stages(Settings(), count):
            assert stage.values[0] == Settings.model_fields[stage.setting].default
            assert len(set(stage.values)) == len(stage.values)
            for value in stage.values:
                Settings(**{stage.setting: value})  # type: ignore[arg-type]


async def test_a_file_is_replaced_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tuned.env"
    out.write_text("mine")
    assert await tune(Tune(TuneArguments(out=out), Settings())) == 1
    assert "exists: add --overwrite" in capsys.readouterr().err
    assert await tune(Tune(TuneArguments(out=tmp_path / "no" / "tuned.env"), Settings())) == 1
    assert "its folder is missing" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_the_network_is_told_by_the_variables_of_its_settings() -> None:
    assert (variable("network_threads"), variable("network_streams")) == (THREADS_VARIABLE, STREAMS_VARIABLE)
    assert Parallelism.from_environment(Parallelism(3, 2).to_environment()) == (3, 2)
    assert Parallelism.from_environment({THREADS_VARIABLE: ""}) == (0, 0)
    for text in ("two", "-1", "1.5", "²"):
        with pytest.raises(ValueError, match="LANDMARKS_NETWORK_STREAMS must be a whole number"):
            Parallelism.from_environment({STREAMS_VARIABLE: text})


COMMAND = [sys.executable, "-m", "service", "tune", "--engine", "local", "--clients", "2", "--rounds", "1"]


def test_it_measures_writes_and_the_service_starts_with_it(tmp_path: Path) -> None:
    """All but one setting are given; the file is read by a shell, as the command says."""
    out = tmp_path / "tuned.env"
    environment = {**os.environ, "LANDMARKS_THREADS": "1", "LANDMARKS_NETWORK_THREADS": "1"}
    command = [*COMMAND, "-o", str(out), "--seconds", "0.1", "--precision", "float32"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert len(ended.stdout.splitlines()) >= 3  # a title, the stage of the streams, the finalists
    assert f"wrote {out}" in ended.stderr
    lines = out.read_text().splitlines()
    assert lines[0].startswith("# Settings for a machine of ")
    assert all(re.fullmatch(r"#.*|LANDMARKS_NETWORK_STREAMS=\d+", line) for line in lines)

    out.write_text(
        "# as tune writes them\nLANDMARKS_NETWORK_STREAMS=2\nLANDMARKS_THREADS=4\n#LANDMARKS_PRECISION=int8\n"
    )
    shell = f"set -a; . {out}; set +a; exec {sys.executable} -m service serve --engine local --port 0 --grpc-port 0"
    with subprocess.Popen(["sh", "-c", shell], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any("curl" in line for line in process.stdout)
        finally:
            process.terminate()


def test_ctrl_c_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "tuned.env"
    command = [*COMMAND, "-o", str(out), "--seconds", "60"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "this takes minutes" in process.stderr.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted: nothing was written" in said
    assert "Traceback" not in said
    assert not out.exists()


def test_the_flags_of_serve_are_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_NETWORK_STREAMS", "2")
    command = parse(["serve", "--triton-calls", "3"])
    assert isinstance(command, Serve)
    assert (command.settings.network_streams, command.settings.triton_calls) == (2, 3)
