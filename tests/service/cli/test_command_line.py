"""What is typed after `landmarks`, and what is said about mistakes in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from service.cli.arguments.common import ServiceArguments
from service.cli.arguments.detect import Detect, OutputArguments
from service.cli.arguments.keys import NewKey
from service.cli.arguments.serve import Serve
from service.cli.command_line import parse
from service.cli.flags import flag
from service.request import Options
from service.settings import Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LANDMARKS_")]:
        monkeypatch.delenv(name)


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def refusal(*argv: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_flag_wins_over_the_environment_which_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_PORT", "9000")
    monkeypatch.setenv("LANDMARKS_LOG_FORMAT", "json")
    monkeypatch.setenv("LANDMARKS_INSECURE", "true")
    command = parse(
        ["serve", "--port", "9001", "--no-insecure", "--cors-origins", "https://a.example,https://b.example"]
    )
    assert isinstance(command, Serve)
    settings = command.settings
    assert (settings.port, settings.log_format, settings.grpc_port) == (9001, "json", 8081)
    assert (settings.insecure, settings.cors_origins) == (False, ("https://a.example", "https://b.example"))


def test_every_setting_and_every_option_has_a_flag_that_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    serve, detect = help_of("serve", capsys=capsys), help_of("detect", capsys=capsys)
    assert {flag(name) for name in Settings.model_fields} <= set(re.findall(r"^  (--[a-z-]+)", serve, re.MULTILINE))
    options = {"box" if name == "boxes" else name for name in Options.model_fields}
    assert {flag(name) for name in options} <= set(re.findall(r"^  (--[a-z-]+)", detect, re.MULTILINE))
    assert "[0 to 65535; default: 8080]" in " ".join(serve.split())
    assert "Give x1,y1,x2,y2 once for each face." in " ".join(detect.split())
    assert max(map(len, (serve + detect).splitlines())) <= 100


def test_help_has_examples_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys=capsys)
    assert "landmarks detect photo.jpg --overlay out.png" in text
    assert "LANDMARKS_LOG_FORMAT" in help_of("serve", capsys=capsys)


def test_the_flags_of_detect_become_options_output_and_service() -> None:
    flags = "--box 1,2,3,4.5 --box 5,6,7,8 --topk 4 --detector-threshold 0.5 --flip --omit points,scores --decoder topk"
    output = "--out o.csv --format csv --resume --concurrency 2 --url http://a:1 --engine local"
    assert parse(["detect", "a.jpg", "b", *flags.split(), *output.split()]) == Detect(
        [Path("a.jpg"), Path("b")],
        Options(
            boxes=((1, 2, 3, 4.5), (5, 6, 7, 8)),
            topk=4,
            detector_threshold=0.5,
            flip=True,
            omit=frozenset({"points", "scores"}),
            decoder="topk",
        ),
        OutputArguments(out=Path("o.csv"), format="csv", resume=True, concurrency=2),
        ServiceArguments(url="http://a:1"),
        Settings(engine="local"),
    )
    assert parse(["detect", "a.jpg", "--max-faces", "3", "--min-score", "0.5"]) == Detect(
        [Path("a.jpg")], Options(max_faces=3, min_score=0.5), OutputArguments(), ServiceArguments(), Settings()
    )


def test_a_new_key_is_for_somebody() -> None:
    assert parse(["keys", "new", "ana"]) == NewKey("ana")


@pytest.mark.parametrize("flags", ["--box -5,-.5,3,4", "--box=-5,-.5,3,4", "--box -5,-.5,3,4 --flip"])
def test_a_box_may_begin_outside_the_image(flags: str) -> None:
    command = parse(["detect", "a.jpg", *flags.split()])
    assert isinstance(command, Detect)
    assert command.options.boxes == ((-5, -0.5, 3, 4),)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["serve", "--port", "many"], "landmarks: --port: must be a whole number\n"),
        (["serve", "--port", "70000"], "landmarks: --port: must be at most 65535\n"),
        (["serve", "--grace", "inf"], "landmarks: --grace: must be a finite number\n"),
        (["serve", "--startup-timeout", "0"], "landmarks: --startup-timeout: must be above 0\n"),
        (["serve", "--engine", "none"], "landmarks: --engine: must be one of embedded, local, not 'none'\n"),
        (
            ["serve", "--grpc-port", "8080"],
            "landmarks: --grpc-port: 8080 is the port of another API",
        ),
        (["serve", "--cors-origins", "*"], "landmarks: --cors-origins: '*' is not an origin such as "),
        (["serve", "--cors-origins", "http://localhost:3000/"], "of each, without a slash at the end\n"),
        (
            ["detect", "a", "--box", "1,2,3"],
            "landmarks: --box: box 0 is not four numbers x1, y1, x2, y2. Give",
        ),
        (["detect", "a", "--box", "a,b,c,d"], "landmarks: --box: box 0 is not four numbers x1, y1, x2, y2. "),
        (["detect", "a", "--topk", "0"], "landmarks: --topk: topk must be at least 1\n"),
        (["detect", "a", "--topk", "four"], "landmarks: --topk: topk must be a whole number\n"),
        (
            ["detect", "a", "--omit", "box"],
            "landmarks: --omit: omit takes points, scores, covariances, visibility, timings_ms",
        ),
        (["detect", "a", "--concurrency", "0"], "landmarks: --concurrency: must be at least 1\n"),
        (["detect", "a", "--concurrency", "two"], "landmarks: --concurrency: must be a whole number\n"),
        (["detect", "a", "--format", "xml"], "landmarks: --format: must be one of jsonl, csv, json, not 'xml'\n"),
        (["detect", "a", ""], "landmarks: image: must not be empty\n"),
        (["detect", "a", "--out", ""], "landmarks: --out: must not be empty\n"),
        (["detect", "a", "--overlay", "", "--ca", ""], "landmarks: --overlay: must not be empty\n"),
        (["serve", "--yunet-path", ""], "landmarks: --yunet-path: must not be empty\n"),
        (["serve", "--prot", "1"], "unrecognized arguments: --prot 1"),
        ([], "landmarks detect photo.jpg --overlay out.png"),
        (["keys"], "create a key"),
    ],
)
def test_a_mistake_is_named_by_its_flag(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(*argv, capsys=capsys)


def test_a_mistake_in_the_environment_is_named_by_its_variable(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("LANDMARKS_PORT", "many")
    monkeypatch.setenv("LANDMARKS_GRACE", "-1")
    assert set(refusal("serve", "--threads", "-1", capsys=capsys).splitlines()) == {
        "landmarks: LANDMARKS_PORT: must be a whole number",
        "landmarks: LANDMARKS_GRACE: must be at least 0",
        "landmarks: --threads: must be at least 0",
    }


@pytest.mark.parametrize(("name", "service"), [("PORT", "landmarks"), ("GRPC_PORT", "landmarks-grpc")])
def test_a_variable_that_kubernetes_sets_for_a_service_is_explained(
    name: str, service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"LANDMARKS_{name}", "tcp://10.96.0.7:8080")
    assert refusal("serve", capsys=capsys) == (
        f"landmarks: LANDMARKS_{name}: must be a number, not tcp://10.96.0.7:8080: Kubernetes sets the variable so "
        f"for a service called {service}, unless the pod says enableServiceLinks: false\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "INFO"), ("LOG_FORMAT", "Json"), ("ENGINE", "LOCAL"), ("PRECISION", "Int8")],
)
def test_words_are_taken_in_any_case(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LANDMARKS_{name}", value)
    command = parse(["serve"])
    assert isinstance(command, Serve)
    assert getattr(command.settings, name.lower()) == value.lower()
