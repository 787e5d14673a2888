"""Hosts and origins: what a page of another site can have a browser send, and what any other client sends."""

from __future__ import annotations

import pytest

from service.security.api_keys import Protection, new_key, read_protection
from service.settings import Settings
from tests.contract.apis import open_apis, reply
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
KEYLESS = read_protection(Settings(allowed_hosts="render.example.com", cors_origins="https://tools.example.com"))
OURS = "127.0.0.1:8080"


async def codes(protection: Protection, requests: list[dict[str, str]], method: str = "POST") -> list[str]:
    """What one request of each of these headers is answered."""
    gateway = make_gateway(FakeEngine(), FakeDetector())
    path = "/v1/landmarks" if method == "POST" else "/v1/models"
    async with open_apis(gateway, protection) as apis:
        found = []
        for headers in requests:
            files = {"image": ("a.png", IMAGE)} if method == "POST" else None
            response = await apis["rest"].client.request(method, path, files=files, headers=headers)
            found.append("ok" if response.status_code == 200 else reply(response).code)
    return found


async def test_a_name_that_is_not_listed_is_refused_while_no_key_is_required() -> None:
    allowed = ["127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7:80", "localhost:8080", "LOCALHOST", "a.localhost"]
    allowed += ["render.example.com", "Render.Example.com:8080", "render.example.com."]
    refused = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "2130706433"]
    for method in ("GET", "POST"):
        hosts = [{"Host": host} for host in allowed + refused]
        expected = ["ok"] * len(allowed) + ["forbidden"] * len(refused)
        assert await codes(KEYLESS, hosts, method) == expected


async def test_with_keys_every_name_is_answered() -> None:
    key, line = new_key("ana")
    protection = read_protection(Settings(api_keys=line))
    assert await codes(protection, [{"Host": "evil.example", "X-API-Key": key}]) == ["ok"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "ok"),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, "ok"),  # a proxy changed Host
        ({"Sec-Fetch-Site": "none"}, "ok"),
        ({"Sec-Fetch-Site": "cross-site"}, "forbidden"),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, "forbidden"),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://tools.example.com"}, "ok"),
        ({"Origin": f"http://{OURS}"}, "ok"),
        ({"Origin": "http://127.0.0.1:3000"}, "forbidden"),
        ({"Origin": "https://evil.example"}, "forbidden"),
        ({"Origin": "null"}, "forbidden"),
        ({"Origin": "https://tools.example.com"}, "ok"),
        ({"Origin": "https://tools.example.com.evil.example"}, "forbidden"),
    ],
)
async def test_what_pages_of_other_origins_post_is_refused(headers: dict[str, str], code: str) -> None:
    assert await codes(KEYLESS, [{"Host": OURS, **headers}]) == [code]


async def test_a_link_from_another_site_is_followed() -> None:
    headers = {"Host": OURS, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert await codes(KEYLESS, [headers], "GET") == ["ok"]
