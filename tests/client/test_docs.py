"""The examples of docs/clients.md, as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli.arguments.detect import Detect
from service.cli.command_line import parse
from service.cli.detect import detect
from tests.client.test_detect import running_apis
from tests.conftest import ROOT
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image

TEXT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^(landmarks detect .*|curl .*)$", TEXT, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
JAVASCRIPT = re.findall(r"```js\n(.*?)```", TEXT, re.DOTALL)
PRINTED = ["(98, 2) float32\n(98,) (98, 2, 2)\n", "4 answers\n1\nnot_an_image\n", "1 1 (98, 2) (98, 3)\n"]


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, Any]]:
    with running_apis(FakeEngine(), FakeDetector(((10, 10, 200, 200), 0.875))) as found:
        yield found


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shots").mkdir()
    for name in ("photo.jpg", "shots/a.jpg"):
        (tmp_path / name).write_bytes(encoded(gradient_image(), ".jpg"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_addresses(text: str, service: dict[str, Any]) -> str:
    return text.replace("http://127.0.0.1:8080", service["http"]).replace("grpc://127.0.0.1:8081", service["grpc"])


def test_there_are_examples() -> None:
    assert (len(SHELL), len(PYTHON), len(JAVASCRIPT)) == (5, 3, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("line", SHELL)
async def test_a_command_runs(service: dict[str, Any], working_directory: Path, line: str) -> None:
    command = shlex.split(with_addresses(line, service))
    if command[0] == "landmarks":
        parsed = parse(command[1:])
        assert isinstance(parsed, Detect)
        assert await detect(parsed) == 0
        return
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    ended = subprocess.run([*command, "-sS", "--fail"], capture_output=True, text=True, timeout=60, check=True)
    assert '"points"' in ended.stdout


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_a_program_runs(service: dict[str, Any], working_directory: Path, number: int, capsys: Any) -> None:
    exec(compile(with_addresses(PYTHON[number], service), "docs/clients.md", "exec"), {})
    assert capsys.readouterr().out == PRINTED[number]


def test_a_function_for_browsers_runs(service: dict[str, Any], working_directory: Path) -> None:
    """In Node, whose `fetch` and `Blob` are those of browsers."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    program = with_addresses(JAVASCRIPT[0], service) + (
        'import { readFileSync } from "node:fs";\n'
        'const file = new Blob([readFileSync("photo.jpg")], { type: "image/jpeg" });\n'
        "console.log((await landmarks(file)).faces[0].points.length);\n"
        'await landmarks(new Blob(["hello"])).catch((error) => console.log(error.message));\n'
    )
    command = [node, "--input-type=module", "--eval", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    points, problem = ended.stdout.splitlines()
    assert points == "98"
    assert problem.endswith("(not_an_image)")
