"""How the page at `/` is served, and that its files keep to themselves."""

import re

import cv2
import httpx
import numpy as np
import pytest

from landmarks.golden import golden_crop
from landmarks.layout import WFLW98
from service.cli.inputs import SUFFIXES
from service.page.page import load_assets
from service.rest.app import build_app
from tests.contract.apis import reply
from tests.fakes import FakeDetector, FakeEngine, make_gateway

pytestmark = pytest.mark.anyio

APP = build_app(make_gateway(FakeEngine(), FakeDetector()))
ASSETS = load_assets()
TEXTS = {name: asset.content.decode() for name, asset in ASSETS.items() if not name.endswith(".png")}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}


async def ask(*requests, method="GET"):
    """The responses to paths, each alone or with its headers."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://here") as client:
        pairs = [request if isinstance(request, tuple) else (request, {}) for request in requests]
        return [await client.request(method, path, headers=headers) for path, headers in pairs]


async def test_every_file_is_served_under_the_same_policy():
    paths = ["/", *(f"/page/{name}" for name in ASSETS)]
    responses = await ask(*paths)
    for path, response in zip(paths, responses, strict=True):
        assert response.status_code == 200, path
        policy = response.headers["content-security-policy"].split("; ")
        assert {"default-src 'self'", "img-src 'self' blob: data:", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["permissions-policy"].startswith("camera=(self)")
        assert response.headers["cache-control"] == "no-cache"
    assert responses[0].content == ASSETS["index.html"].content
    types = {path: response.headers["content-type"] for path, response in zip(paths, responses, strict=True)}
    assert types["/"] == "text/html; charset=utf-8"
    assert types["/page/page.js"] == "text/javascript; charset=utf-8"
    assert types["/page/page.css"] == "text/css; charset=utf-8"


@pytest.mark.parametrize(
    ("given", "status"), [("{}", 304), ("W/{}", 304), ('"other", {}', 304), ("*", 304), ('"other"', 200), ("", 200)]
)
async def test_a_file_that_the_browser_has_is_not_sent_again(given, status):
    etag = (await ask("/page/page.css"))[0].headers["etag"]
    (response,) = await ask(("/page/page.css", {"If-None-Match": given.format(etag)}))
    assert (response.status_code, response.headers["etag"]) == (status, etag)
    assert bool(response.content) == (status == 200)


def test_files_differ_in_their_etags():
    assert len({asset.etag for asset in ASSETS.values()}) == len(ASSETS)


async def test_head_says_what_get_says():
    (head,) = await ask("/", method="HEAD")
    (get,) = await ask("/")
    assert head.content == b""
    for answer in (head, get):
        del answer.headers["x-request-id"]
    assert head.headers == get.headers


@pytest.mark.parametrize(
    "name", ["page.py", "__init__.py", "..%2fpage.py", "%2e%2e/drawing.py", "golden.png", "x" * 9000]
)
async def test_nothing_but_the_page_s_own_files_is_served(name):
    (response,) = await ask(f"/page/{name}")
    assert (reply(response).code, response.status_code) == ("not_found", 404)


def test_the_portrait_is_the_golden_crop_s_picture():
    portrait = cv2.imdecode(np.frombuffer(ASSETS["portrait.png"].content, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(portrait[..., ::-1], golden_crop())


async def test_the_page_is_no_part_of_the_described_api():
    (response,) = await ask("/openapi.json")
    assert not [path for path in response.json()["paths"] if path == "/" or path.startswith("/page")]


# ---------------------------------------------------------------- the files


def test_colours_are_those_of_the_drawing():
    lines = TEXTS["colours.css"].splitlines()
    assert len(lines) == 1 + len(WFLW98.groups)
    # groups of other layouts; the rules after it are of the same weight and win
    assert lines[0] == "[data-group] { --group: rgb(190 170 255); }"
    assert '[data-group="jaw"] { --group: rgb(92 200 255); }' in lines
    assert '[data-group="pupils"] { --group: rgb(255 255 255); }' in lines


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "colours.css"])
def test_the_layout_is_not_written_down_again(name):
    known = {*WFLW98.groups, *WFLW98.point_names} - {"jaw", "nose", "chin", "pupils"}
    assert not [point for point in known if point in TEXTS[name]]


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_comes_from_another_host(name):
    addresses = set(re.findall(r"https?:[^\s\"'`)]*", TEXTS[name]))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.findall(r"(?:src|href|url\()[=\"'( ]*//", TEXTS[name])


def test_no_script_or_style_stands_in_the_markup():
    html = TEXTS["index.html"]
    assert re.findall(r"<script\b[^>]*>[^<]*</script>", html) == ['<script type="module" src="page/page.js"></script>']
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    for text in SCRIPTS.values():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write", text)


def test_what_files_name_exists():
    html = TEXTS["index.html"]
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    for text in SCRIPTS.values():
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(SCRIPTS)
        assert set(re.findall(r'(?:byId|onClick|onSubmit)\("([^"]+)"', text)) <= set(identifiers)
    assert set(re.findall(r'(?:src|href)="page/([^"]+)"', html)) <= set(ASSETS)
    assert set(re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', html)) <= set(identifiers)


def test_the_file_chooser_offers_videos_and_every_format_of_images_that_is_read():
    (accepted,) = re.findall(r'accept="([^"]+)"', TEXTS["index.html"])
    assert set(accepted.split(",")) == {"image/*", *SUFFIXES, "video/*", ".mkv"}
