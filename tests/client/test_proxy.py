"""Variables that name an HTTP proxy: for this machine they have no effect, and errors name them elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from landmarks_client.errors import NoAnswer
from landmarks_client.proxy import is_local, proxy_advice, proxy_options
from service.engines.port import EngineUnavailable
from service.engines.triton.endpoint import Endpoint
from tests.client.conftest import asking, every_api, every_client
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway
from tests.service.triton_double import doubles, name_of, verify

pytestmark = pytest.mark.anyio

NAMES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")
IMAGE = encoded(gradient_image())


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a proxy that accepts connections and never answers; every variable in every spelling names it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name in (*NAMES, *map(str.upper, NAMES)):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield url


@every_client
@every_api
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.usefixtures("proxy")
async def test_a_local_service_is_reached_without_the_proxy(scheme: str, kind: Any, host: str) -> None:
    async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
        url = f"{scheme}://{apis['rest'].url.removeprefix('http://') if scheme == 'http' else apis['grpc'].address}"
        async with asking(kind, url.replace("127.0.0.1", host)) as ask:
            assert (await ask("landmarks", IMAGE)).faces == ()


@pytest.mark.usefixtures("proxy")
async def test_a_local_triton_is_reached_without_the_proxy() -> None:
    async with doubles("a") as [double]:
        endpoint = Endpoint(double.address, verify)
        await endpoint.probe()
        assert endpoint.is_up
        assert name_of(await endpoint.infer("landmarks", [])) == "a"
        await endpoint.close()


@pytest.fixture
def refusing_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str, unused_port: int) -> None:
    for name in NAMES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{unused_port}")


@every_client
@pytest.mark.usefixtures("refusing_proxy")
async def test_the_client_names_the_variable_and_no_password(kind: Any) -> None:
    async with asking(kind, "grpc://landmarks.example:8081") as ask:
        with pytest.raises(NoAnswer, match=r"variable http_proxy.*no_proxy=landmarks\.example ") as caught:
            await ask("landmarks", IMAGE)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("refusing_proxy")
async def test_the_gateway_names_the_variable() -> None:
    endpoint = Endpoint("triton.example:8001", verify)
    await asyncio.wait_for(endpoint.probe(), 30)
    assert isinstance(endpoint.failure, EngineUnavailable)
    assert "variable http_proxy names; set no_proxy=triton.example " in str(endpoint.failure)
    await endpoint.close()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:8001", True),
        ("127.8.9.10:8001", True),
        ("[::1]:8001", True),
        ("LOCALHOST:8001", True),
        ("a.localhost:8001", True),
        ("0.0.0.0:8001", True),
        ("127.0.0.1.example:8001", False),
        ("localhost.example:8001", False),
        ("10.0.0.1:8001", False),
        ("[2001:db8::1]:8001", False),
        ("triton:8001", False),
    ],
)
def test_the_addresses_of_this_machine(address: str, local: bool) -> None:
    assert is_local(address) is local
    assert proxy_options(address) == ([("grpc.enable_http_proxy", 0)] if local else [])


@pytest.mark.parametrize("excluded", ["10.0.0.0/8", "10.1.2.3", "a.example, 10.1.2.3"])
def test_no_advice_where_an_address_is_excluded_from_the_proxy(monkeypatch: pytest.MonkeyPatch, excluded: str) -> None:
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://p:1")
    monkeypatch.setenv("no_proxy", excluded)
    assert proxy_advice("10.1.2.3:8001") == ""
    assert proxy_advice("11.1.2.3:8001") != ""


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"http_proxy": "http://p:1"}, "http_proxy"),
        ({"http_proxy": "http://p:1", "grpc_proxy": "http://q:1"}, "grpc_proxy"),
        ({"http_proxy": "http://p:1", "https_proxy": "http://q:1"}, "https_proxy"),
        ({"http_proxy": "http://p:1", "no_proxy": "a.example, triton"}, None),
        ({"http_proxy": "http://p:1", "no_grpc_proxy": "a.example", "no_proxy": "triton"}, "http_proxy"),
    ],
)
def test_the_variable_that_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], variable: str | None
) -> None:
    for name in (*NAMES, *map(str.upper, NAMES), "no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    advice = proxy_advice("triton:8001")
    assert (f"the variable {variable} names" in advice) if variable else advice == ""
