"""The page in a browser, with a service whose answers are known, and helpers for tests of it."""

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect

from service.security.api_keys import Protection
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

# the crop of this box has the size of the network's input: 204.8 pixels times 1.25 are 256. Its first pixel is image
# pixel (-8, -18), and the fake network puts point i at crop pixel (i, 2 i)
BOX = (17.1, 7.1, 221.9, 211.9)
POINT = 64
POSITION = (56, 110)
"""Point 64, in image pixels."""
GROUPS = 9

BUSY_MACHINE_MS = 60_000
expect.set_options(timeout=BUSY_MACHINE_MS)


class FakeService:
    """A gateway over fakes that tests change. Its event loop has its own thread, because Playwright occupies theirs."""

    def __init__(self, protection: Protection | None = None) -> None:
        self.protection = protection
        self.engine = FakeEngine()
        self.detector = FakeDetector((BOX, 0.75))
        self.url = ""

    async def serve(self, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop = asyncio.Event()
        gateway = make_gateway(self.engine, self.detector, max_pixels=10**6, max_bytes=10**6)
        async with open_apis(gateway, self.protection) as apis:
            self.url = apis["rest"].url
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()


@contextmanager
def running(service: FakeService) -> Iterator[FakeService]:
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(service.serve(started)))
    thread.start()
    loop, stop = started.result(BUSY_MACHINE_MS / 1000)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


class Watch:
    """The errors in a page's console, and the hosts that it sends requests to."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(re.sub(r"^(\w+://[^/]*).*|^(blob:).*", r"\1\2", request.url)))

    def check(self, url: str) -> None:
        refused = [text for text in self.errors if text.startswith("Failed to load resource")]
        assert self.errors == refused  # tests provoke refused requests, and look at the page for them
        assert self.hosts - {"blob:"} == {url}


@contextmanager
def opened(browser: Browser, url: str, groups: int = GROUPS, **settings) -> Iterator[Page]:
    """The page. It must send requests to its own host only, and log no errors but refused requests."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write", "camera"], **settings)
    context.set_default_timeout(BUSY_MACHINE_MS)
    page = context.new_page()
    watch = Watch(page)
    start(page, url, groups)
    try:
        yield page
        watch.check(url)
    finally:
        context.close()


def start(page: Page, url: str, groups: int = GROUPS) -> None:
    page.goto(url)
    expect(page.locator("#groups label")).to_have_count(groups)


def open_file(page: Page, content: bytes, name: str = "a.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": content})


def show(page: Page, content: bytes | None = None, faces: int = 1, name: str = "a.png") -> None:
    open_file(page, encoded(gradient_image()) if content is None else content, name)
    expect(page.locator("#faces li")).to_have_count(faces)


def screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """The position in the window of a position in the image."""
    left, top = corner(page)
    at = page.evaluate("(p) => import('/page/stage.js').then((m) => m.viewer.view.toScreen(p))", [x, y])
    return left + at[0], top + at[1]


def image_position(page: Page, x: float, y: float) -> tuple[float, float]:
    """The position in the image of a position in the window."""
    left, top = corner(page)
    code = "(p) => import('/page/stage.js').then((m) => m.viewer.view.toImage(p))"
    at: tuple[float, float] = page.evaluate(code, [x - left, y - top])
    return at


def corner(page: Page) -> tuple[float, float]:
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    return box["x"], box["y"]
