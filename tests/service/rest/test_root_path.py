"""REST under a path of a reverse proxy, which may remove the path from requests or leave it."""

import hashlib
from urllib.parse import urljoin

import httpx
import pytest
from pydantic import ValidationError

from service.rest.app import build_app
from service.security.api_keys import ApiKeys, Protection
from service.settings import Settings
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

PROTECTION = Protection(ApiKeys({"ana": hashlib.sha256(b"key").digest()}))
IMAGE = encoded(gradient_image())


def client_of(root_path: str) -> httpx.AsyncClient:
    app = build_app(make_gateway(FakeEngine(), FakeDetector()), PROTECTION, root_path)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


@pytest.mark.parametrize("root_path", ["/faces", "/a/b"])
async def test_paths_are_answered_with_the_proxy_s_path_and_without_it(root_path: str) -> None:
    async with client_of(root_path) as client:
        for prefix in ("", root_path):
            page = await client.get(f"{prefix}/")
            assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            refused = await client.post(f"{prefix}/v1/landmarks", content=IMAGE)
            assert refused.json()["code"] == "unauthenticated"
            answered = await client.post(f"{prefix}/v1/landmarks", content=IMAGE, headers={"X-API-Key": "key"})
            assert answered.status_code == 200
        assert (await client.get(f"{root_path}x/docs", headers={"X-API-Key": "key"})).status_code == 404


@pytest.mark.parametrize("root_path", ["", "/faces"])
async def test_the_description_loads_its_files_from_beside_it(root_path: str) -> None:
    async with client_of(root_path) as client:
        docs = await client.get(f"{root_path}/docs")
        names = [part.split('"')[0] for mark in ('src="', 'href="') for part in docs.text.split(mark)[1:]]
        assert "static-offline-docs/swagger-ui-bundle.js" in names
        for name in [*names, "openapi.json"]:
            url = urljoin(f"http://here{root_path}/docs", name)
            assert url.startswith(f"http://here{root_path}/")
            assert (await client.get(url)).status_code == 200, url
        assert "url: 'openapi.json'" in docs.text
        described = (await client.get(f"{root_path}/openapi.json")).json()
        assert described.get("servers") == ([{"url": root_path}] if root_path else None)
        assert "8080" not in str(described)


@pytest.mark.parametrize("wrong", ["faces", "/faces/", "/", "/a b", "/a?b", "//a", "http://a", "/v1", "/page/a"])
def test_a_path_that_cannot_be_told_from_the_service_s_own_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="root_path"):
        Settings(root_path=wrong)
