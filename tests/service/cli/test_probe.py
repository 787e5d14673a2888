"""`landmarks probe` against a service, which is over fakes here: over real sockets, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from landmarks_client.results import Answer, Face, Model, floats
from service.cli.probe import WrongAnswer, addresses, check
from service.engines.port import EngineUnavailable
from service.gateway import Gateway
from service.security.api_keys import Protection, new_key, read_keys
from service.settings import Settings
from tests.conftest import ROOT
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, make_gateway

pytestmark = pytest.mark.anyio
FACE = ((46.0, 35.0, 212.0, 228.0), 0.97)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", "probe", *arguments]


@asynccontextmanager
async def probing(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), cwd=ROOT, env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def once(*arguments: str, **environment: str) -> tuple[int | None, str]:
    """The exit status, and what it printed."""
    async with probing(*arguments, **environment) as process:
        _, printed = await process.communicate()
        return process.returncode, printed.decode()


def fake_gateway(engine: FakeEngine | None = None, found: int = 1, **changes: int) -> Gateway:
    """A gateway whose detector finds the face of the portrait, or none, and whose engine is certain of it."""
    return make_gateway(engine or FakeEngine(), FakeDetector(*[FACE] * found), **changes)


async def test_both_apis_are_asked_once_and_the_exit_status_says_whether_all_is_well() -> None:
    async with open_apis(fake_gateway()) as apis:
        urls = (apis["rest"].url, f"grpc://{apis['grpc'].address}")
        status, printed = await once(*urls)
        assert (status, printed.count(": ok in ")) == (0, 2)
        status, printed = await once(urls[0], f"{urls[0]}/nowhere")
        assert status == 1
        assert ": ok in " in printed


@pytest.mark.parametrize("found", [0, 2])
async def test_another_answer_than_the_portraits_is_wrong(found: int) -> None:
    async with open_apis(fake_gateway(found=found)) as apis:
        status, printed = await once(apis["rest"].url)
        assert status == 1
        assert ": wrong_answer in " in printed
        assert f"{found} faces instead of one" in printed


async def test_a_service_with_keys_is_asked_with_the_key_of_the_environment() -> None:
    key, line = new_key("probe")
    async with open_apis(fake_gateway(), Protection(read_keys(Settings(api_keys=line)))) as apis:
        assert (await once(apis["rest"].url, LANDMARKS_API_KEY=key))[0] == 0
        status, printed = await once(apis["rest"].url)
        assert status == 1
        assert "unauthenticated" in printed


async def test_nobody_who_listens_is_no_answer_and_an_address_that_is_none_is_a_mistake() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        status, printed = await once(f"http://127.0.0.1:{bound.getsockname()[1]}", "--timeout", "0.2")
        assert status == 1
        assert "no_answer" in printed
        assert (await once("ftp://127.0.0.1"))[0] == 2
        bound.listen()
        ask_again = (f"http://127.0.0.1:{bound.getsockname()[1]}", "--port", str(bound.getsockname()[1]))
        status, printed = await once(*ask_again)
        assert status == 1
        assert "in use" in printed


async def test_metrics_follow_the_service() -> None:
    engine = FakeEngine()
    async with open_apis(fake_gateway(engine)) as apis:
        url = apis["rest"].url
        async with probing(url, "--port", "0", "--interval", "0.05", "--timeout", "0.5") as process:
            assert process.stderr is not None
            match = re.match(r"metrics at (\S+)", (await process.stderr.readline()).decode())
            assert match is not None
            drained = asyncio.create_task(process.stderr.read())
            async with httpx.AsyncClient() as client:

                async def has(line: str) -> None:
                    while line not in (await client.get(match[1])).text:
                        await asyncio.sleep(0.02)

                await has(f'landmarks_probe_success{{url="{url}"}} 1.0')
                engine.error = EngineUnavailable("down")
                await has(f'landmarks_probe_success{{url="{url}"}} 0.0')
                await has(f'landmarks_probe_results_total{{code="unavailable",url="{url}"}}')
                engine.error = None
                await has(f'landmarks_probe_success{{url="{url}"}} 1.0')
            process.terminate()
            await drained


def answer_with(*faces: Face) -> Answer:
    return Answer("id", Model("m", "1", "sha256:0"), 256, 256, faces)


def face(box: tuple[float, float, float, float] = FACE[0], score: float = 0.9) -> Face:
    return Face(floats(box, 4), "detected", 0.9, score, 100.0, floats((), -1, 2), floats((), -1), floats((), -1, 3))


def test_the_face_of_the_portrait_is_right_and_others_are_wrong() -> None:
    check(answer_with(face()))
    for wrong in ([], [face(), face()], [face(score=0.4)], [face(score=float("nan"))], [face((0, 0, 60, 60))]):
        with pytest.raises(WrongAnswer):
            check(answer_with(*wrong))


def test_every_server_behind_a_name_is_asked_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", ("10.0.0.2", 8080)), (socket.AF_INET6, 1, 6, "", ("fd00::1", 8080, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: found)
    assert addresses("http://gateway:8080/faces") == ["http://10.0.0.2:8080/faces", "http://[fd00::1]:8080/faces"]
    assert addresses("grpc://gateway:8081") == ["grpc://10.0.0.2:8081", "grpc://[fd00::1]:8081"]


@pytest.mark.parametrize(
    "url", ["https://gateway:8080", "grpcs://gateway:8081", "http://localhost:1", "http://[::1]:1"]
)
def test_a_name_that_a_certificate_is_for_is_kept(url: str) -> None:
    assert addresses(url) == [url]
